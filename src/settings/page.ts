import type { Request, RequestHandler, Response } from 'express';
import { Router, urlencoded } from 'express';
import { z } from 'zod';
import type { Sql } from '../database/sql.ts';
import { AppError, notFound } from '../errors.ts';
import { stripNul } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readWorkspace, type Workspace } from '../workspaces/repository.ts';
import { type Session, type Sessions, sessionOf } from '../workspaces/sessions.ts';
import { assertAllowedToChange } from './change-settings.ts';
import type { FlashCode } from './messages.ts';
import { sendPage } from './render.ts';

/** One request of a signed-in admin. Everything it reads and writes belongs to `workspace`. */
export interface PageRequest {
  readonly app: AppContext;
  readonly sessions: Sessions;
  readonly session: Session;
  readonly workspace: Workspace;
  /** Before the workspace was read, epoch ms. */
  readonly openedAtMs: number;
  /** For a page's larger reads: contains everything that this admin has just changed. */
  readonly sql: Sql;
  /** What the form sent. */
  readonly typed: Readonly<Record<string, unknown>>;
  /** A field of the form, or a parameter of the query, trimmed; `''` when absent or given more than once. */
  input(name: string): string;
  /** The same, with the white space around it. */
  untrimmed(name: string): string;
}

/** What is wrong, by the name of the field; `''`: not about one field. */
export type Problems = Readonly<Record<string, string>>;

export type Outcome =
  | {
      readonly kind: 'done';
      readonly path: string;
      readonly flash?: FlashCode;
      readonly signsOut?: true;
    }
  | {
      readonly kind: 'problems';
      readonly problems: Problems;
      readonly data?: object;
      /** What was typed is not shown again: the page has changed. */
      readonly isOutdated?: boolean;
    }
  /** The answer itself shows what must be in no address or history. */
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
  readonly view: string;
  load(request: PageRequest): Promise<object>;
  /** By their path below the page; `''`: the page's own. */
  readonly forms?: Readonly<Record<string, Form>>;
  /** What its forms may send; 64 KiB by default. Above that, the server knows the page by `LARGE_FORMS`. */
  readonly maxFormBytes?: number;
  /** JSON for the page's script. */
  readonly status?: (request: PageRequest) => Promise<object>;
  /** Files, which leave an audit record and need the right to change settings. */
  readonly downloads?: Readonly<Record<string, (request: PageRequest) => Promise<Download>>>;
}

/** The path of the sidebar's entry: `/grants` of `/grants/many`. */
const sectionOf = ({ path }: Pick<Page, 'path'>): string => path.split('/', 2).join('/');

export function done(path: string, flash?: FlashCode): Outcome {
  return { kind: 'done', path: `/settings${path}`, flash };
}

export function problems(list: Problems, data?: object): Extract<Outcome, { kind: 'problems' }> {
  return { kind: 'problems', problems: list, data };
}

/** The text of a field, trimmed. */
export const textField = z.preprocess(firstText, z.string());
export const checkboxField = z.preprocess((value) => firstText(value) === 'on', z.boolean());
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

function firstText(value: unknown): string {
  return untrimmedText(value).trim();
}

function untrimmedText(value: unknown): string {
  return typeof value === 'string' ? stripNul(value) : '';
}

/** Asks before something is deleted or cannot be undone. */
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

const DEFAULT_FORM_BYTES = 64 * 1024;
/** For 2,000 teammates who are selected for each of the store actions. */
const MAX_FORM_FIELDS = 10_000;
/** How long a page waits for the replica to catch up before it is read from the primary. */
const REPLICA_WAIT_MS = 100;

type Site = Pick<PageRequest, 'app' | 'sessions'>;

/** Serves the pages of signed-in admins; mounted at `/settings`. */
export function pagesRouter(site: Site, pages: readonly Page[]): Router {
  const { requireSession, requireCsrf } = site.sessions;
  const router = Router({ strict: true, caseSensitive: true });
  const readPageRequest: RequestHandler = async (req, res, next) => {
    res.locals.pageRequest = await readRequest(site, req, res);
    next();
  };
  router.use(requireSession);
  for (const page of pages) {
    const { path, status, downloads = {}, forms = {} } = page;
    router.get(path || '/', readPageRequest, (_req, res) => show(page, res));
    if (status) {
      router.get(`${path}/status`, readPageRequest, async (_req, res) => {
        res.set('Cache-Control', 'no-store').json(await status(requestOf(res)));
      });
    }
    for (const [name, load] of Object.entries(downloads)) {
      router.get(`${path}${name}`, readPageRequest, requireChangeRight, async (_req, res) => {
        const { name: file, type, body } = await load(requestOf(res));
        res.set('Cache-Control', 'no-store').type(type).attachment(file).send(body);
      });
    }
    const limit = page.maxFormBytes ?? DEFAULT_FORM_BYTES;
    const readForm = urlencoded({ extended: false, limit, parameterLimit: MAX_FORM_FIELDS });
    for (const [name, form] of Object.entries(forms)) {
      const formPath = `${path}${name}` || '/';
      // A page with problems has this address: entered again, it is the page.
      if (!pages.some((each) => (each.path || '/') === formPath))
        router.get(formPath, (_req, res) => res.redirect(302, `/settings${path}`));
      router.post(formPath, readForm, requireCsrf, readPageRequest, requireChangeRight, async (_req, res) => {
        const outcome = await save(form, res);
        if (outcome.kind === 'problems') await show(page, res, { form: name, ...outcome });
        else await answer(page, outcome, res);
      });
    }
  }
  return router;
}

function requestOf(res: Response): PageRequest {
  return res.locals.pageRequest as PageRequest;
}

const requireChangeRight: RequestHandler = async (_req, res, next) => {
  await assertAllowedToChange(requestOf(res));
  next();
};

/** @throws AppError `not_found` when the workspace was erased while its admin was signed in */
async function readRequest(
  { app, sessions }: Site,
  { method, body, query }: Request,
  res: Response,
): Promise<PageRequest> {
  const session = sessionOf(res);
  const openedAtMs = app.now();
  const [workspace, sql] = await Promise.all([
    readWorkspace(app.database, session.workspaceId),
    method === 'GET' ? app.readDatabase.upToDate(REPLICA_WAIT_MS) : app.database,
  ]);
  if (!workspace) throw notFound('This workspace no longer has the app installed');
  const typed = (body ?? {}) as Record<string, unknown>;
  const untrimmed = (name: string): string => untrimmedText(typed[name] ?? query[name]);
  const input = (name: string): string => untrimmed(name).trim();
  return { app, sessions, session, workspace, openedAtMs, sql, typed, input, untrimmed };
}

async function show(
  page: Page,
  res: Response,
  failed?: { form: string; problems: Problems; data?: object; isOutdated?: boolean },
): Promise<void> {
  const request = requestOf(res);
  const typedForm = failed && !failed.isOutdated ? failed.form : null;
  await sendPage(res, request, {
    view: page.view,
    title: page.title,
    section: sectionOf(page),
    problems: failed?.problems ?? {},
    typed: typedForm === null ? {} : request.typed,
    data: { ...(await page.load(request)), failedForm: typedForm, ...failed?.data },
  });
}

async function save(form: Form, res: Response): Promise<Outcome> {
  const request = requestOf(res);
  const parsed = form.schema.safeParse(request.typed);
  if (!parsed.success) {
    const found = parsed.error.issues.map(({ path, message }) => [path.map(String).join('.'), message]);
    return problems(Object.fromEntries(found));
  }
  try {
    return await form.save(request, parsed.data as never);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'conflict') throw error;
    return { ...problems({ '': error.message }), isOutdated: true };
  }
}

async function answer(
  page: Page,
  outcome: Exclude<Outcome, { kind: 'problems' }>,
  res: Response,
): Promise<void> {
  const request = requestOf(res);
  if (outcome.kind === 'page') {
    await sendPage(res, request, { ...outcome, section: sectionOf(page), problems: {}, typed: {} });
    return;
  }
  if (outcome.signsOut) await request.sessions.signOut(res.req, res);
  res.redirect(303, outcome.flash ? `${outcome.path}?done=${outcome.flash}` : outcome.path);
}
