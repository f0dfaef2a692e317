import { z } from 'zod';
import type { Sql } from '../database/sql.ts';
import { stripNul } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Workspace } from '../workspaces/repository.ts';
import type { Session, Sessions } from '../workspaces/sessions.ts';
import type { FlashCode } from './messages.ts';

/** One request of a signed-in admin. Everything it reads and writes belongs to `workspace`. */
export interface PageRequest {
  readonly app: AppContext;
  readonly sessions: Sessions;
  readonly menu: Menu;
  readonly session: Session;
  readonly workspace: Workspace;
  readonly workspaceId: string;
  /** Taken before the workspace was read, epoch ms. */
  readonly openedAtMs: number;
  /** For a page's larger reads. May be a replica, but one that has everything that this admin has just changed. */
  readonly sql: Sql;
  readonly typed: Readonly<Record<string, unknown>>;
  /** A field of the form, or a parameter of the query, trimmed; `''` when absent or given more than once. */
  input(name: string): string;
  /** Like `input`, but not trimmed. */
  untrimmed(name: string): string;
}

/** Messages about invalid fields, by the field's name; `''`: not about a single field. */
export type Problems = Readonly<Record<string, string>>;

export interface Failure {
  readonly kind: 'problems';
  readonly problems: Problems;
  readonly data?: object;
  readonly status?: number;
  /** The stored settings have changed since the page was opened. */
  readonly isOutdated?: boolean;
}

export type Outcome =
  | {
      readonly kind: 'done';
      readonly path: string;
      readonly flash?: FlashCode;
      readonly signsOut?: true;
    }
  | Failure
  /** The response itself shows a value that no URL or history may contain. */
  | { readonly kind: 'page'; readonly view: string; readonly title: string; readonly data: object };

export interface Form {
  readonly schema: z.ZodType;
  save(request: PageRequest, values: never): Promise<Outcome>;
}

export function form<Schema extends z.ZodType>(
  schema: Schema,
  save: (request: PageRequest, values: z.output<Schema>) => Promise<Outcome>,
): Form {
  return { schema, save };
}

/** A form that is only a button. */
export function action(save: (request: PageRequest) => Promise<Outcome>): Form {
  return form(z.object({}), save);
}

export interface Download {
  readonly name: string;
  readonly type: string;
  readonly body: string;
}

/** One page of the settings: where it is, what it shows, and what its forms do. */
export interface Page {
  /** Below `/settings`. */
  readonly path: string;
  readonly title: string;
  /** The sidebar's label, if the title is too long for it. */
  readonly menuLabel?: string;
  /** Named after the path by default: `card` for `/card`. */
  readonly view?: string;
  load(request: PageRequest): Promise<object>;
  /** By their path below the page's; `''`: the page's own path. */
  readonly forms?: Readonly<Record<string, Form>>;
  /** The size limit of its forms; 64 KiB by default. `LARGE_FORMS` passes larger limits to the server. */
  readonly maxFormBytes?: number;
  /** JSON for the page's script. */
  readonly status?: (request: PageRequest) => Promise<object>;
  /** Files, which leave an audit record and need the right to change settings. */
  readonly downloads?: Readonly<Record<string, (request: PageRequest) => Promise<Download>>>;
}

/** The sidebar: groups with their pages. */
export type Menu = readonly (readonly [group: string, pages: readonly Page[]])[];

/** The path of the sidebar's entry: `/grants` for `/grants/many`. */
export const sectionOf = ({ path }: Pick<Page, 'path'>): string => path.split('/', 2).join('/');

export function done(path: string, flash?: FlashCode): Outcome {
  return { kind: 'done', path: `/settings${path}`, flash };
}

export function problems(list: Problems, data?: object): Failure {
  return { kind: 'problems', problems: list, data };
}

/** The text of a field, trimmed. */
export const textField = z.preprocess(trimmedText, z.string());
export const checkboxField = z.preprocess((value) => trimmedText(value) === 'on', z.boolean());
/** All values of a field: none, one or several ticked boxes. */
export const listField = z.preprocess(
  (value) =>
    (Array.isArray(value) ? value : [value]).filter((each) => typeof each === 'string').map(stripNul),
  z.array(z.string()),
);

/** A number, or `null` where the field is empty. */
export const numberField = (pattern: RegExp, message: string, max = Number.POSITIVE_INFINITY) =>
  textField
    .refine((text) => text === '' || (pattern.test(text) && Number(text) <= max), message)
    .transform((text) => (text === '' ? null : Number(text)));

function trimmedText(value: unknown): string {
  return untrimmedText(value).trim();
}

export function untrimmedText(value: unknown): string {
  return typeof value === 'string' ? stripNul(value) : '';
}

/** A question to the admin before something is deleted or cannot be undone. */
interface Confirmation {
  readonly heading: string;
  /** What happens, one sentence each. */
  readonly effects: readonly string[];
  readonly button: string;
  /** Names what is affected; sent with the form. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Where *Cancel* leads; the section's page by default. */
  readonly back?: string;
}

export function confirmationPage<Subject>(page: {
  /** Below the path of its section. */
  path: string;
  title: string;
  /** Reads what is affected. @throws AppError `not_found` */
  find(request: PageRequest): Promise<Subject>;
  describe(subject: Subject): Confirmation;
  save(request: PageRequest, subject: Subject): Promise<Outcome>;
}): Page {
  const { path, title } = page;
  const defaults = { fields: {}, action: path, back: `/settings${sectionOf(page)}` };
  return {
    path,
    title,
    view: 'confirm',
    load: async (request) => ({ ...defaults, ...page.describe(await page.find(request)) }),
    forms: {
      '': form(z.object({ confirmed: textField }), async (request, { confirmed }) =>
        confirmed === 'yes'
          ? page.save(request, await page.find(request))
          : problems({ '': 'Nothing was changed. Confirm it below.' }),
      ),
    },
  };
}
