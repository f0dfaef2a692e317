import { join } from 'node:path';
import escapeHtml from 'escape-html';
import { Eta } from 'eta';
import type { Request, Response } from 'express';
import { messagesFor } from '../i18n/messages.ts';
import { formatCount, plural, stripInvisibleText } from '../text.ts';
import { isAllowedToChange, versionsOf } from './change-settings.ts';
import { flashOf } from './messages.ts';
import type { PageRequest, Problems } from './page.ts';

const eta = new Eta({ views: join(import.meta.dirname, 'views'), autoEscape: true, cache: true });

/** All other options are passed on to `views/field.eta`. */
interface FieldOptions {
  readonly name: string;
  /** Set where a page repeats a form for each project: text typed into another project's form is not shown here. */
  readonly project?: string;
  /** Set where a page repeats fields in several rows: the list of problems at the top of the page names the row. */
  readonly row?: string;
  readonly type?: string;
  readonly value?: string | number | null;
  readonly [passedOn: string]: unknown;
}

interface ShownPage {
  readonly view: string;
  readonly title: string;
  readonly section: string;
  readonly problems: Problems;
  /** 422 by default where there are problems. */
  readonly status?: number;
  /** What was typed into the form that failed. */
  readonly typed: Readonly<Record<string, unknown>>;
  readonly data: { readonly failedForm?: string | null };
}

/** Sends a page of a signed-in admin. Pages show customers' data and are never cached. */
export async function sendPage(res: Response, request: PageRequest, page: ShownPage): Promise<void> {
  const { session, workspace, menu } = request;
  const { dateTime } = messagesFor('en', workspace.timezone);
  const hasProblems = Object.keys(page.problems).length > 0;
  const helpers = formHelpers(page);
  const html = eta.render(`./${page.view}`, {
    title: page.title,
    menu,
    section: page.section,
    csrf: hiddenFields({
      _csrf: session.csrf,
      // A form that is shown again keeps the versions of the page that it was filled in on.
      _shown: helpers.typed('_shown') ?? versionsOf(request),
    }),
    admin: session.admin,
    workspace: { name: workspace.name, id: workspace.workspaceId, timezone: workspace.timezone },
    canChange: await isAllowedToChange(request),
    changers: (workspace.settings.access.admins ?? []).map(({ name }) => name).join(', '),
    flash: flashOf(request.input('done')),
    problems: Object.entries(page.problems),
    failed: hasProblems,
    time: (at: Date | null): string => (at === null ? '' : dateTime(at.getTime())),
    count: formatCount,
    plural,
    ...helpers,
    ...page.data,
  });
  res
    .status(page.status ?? (hasProblems ? 422 : 200))
    .set('Cache-Control', 'no-store')
    .type('html')
    .send(stripInvisibleText(html));
}

/** Functions that views call for the fields of their forms. A form that failed is shown as it was sent. */
function formHelpers({ typed, problems, data }: ShownPage) {
  const typedText = (name: string): string | null => (typeof typed[name] === 'string' ? typed[name] : null);
  const problemsByName = new Map(Object.entries(problems));
  const rows = new Map<string, string>();
  const problemOf = (name: string, row?: string): string | null => {
    if (row !== undefined) rows.set(name, row);
    return problemsByName.get(name) ?? null;
  };
  return {
    problem: problemOf,
    /** For the layout, which is rendered after the body: only then are all rows known. */
    rowOf: (name: string): string | null => rows.get(name) ?? null,
    typed: typedText,
    typedList: (name: string): unknown[] => [typed[name] ?? []].flat(),
    /** Whether a checkbox is ticked: as stored, or as it was sent if its form failed. */
    ticked: (name: string, stored: boolean, form = ''): boolean =>
      data.failedForm === form ? typed[name] === 'on' : stored,
    field(options: FieldOptions): string {
      const { name, project, row, type } = options;
      const isOther = project !== undefined && project !== typedText('project');
      const value = (isOther ? null : typedText(name)) ?? options.value ?? '';
      return eta.render('./field', {
        type: 'text',
        id: name,
        help: '',
        options: null,
        ...options,
        value: type === 'password' ? '' : value,
        problem: isOther ? null : problemOf(name, row),
      });
    },
  };
}

function hiddenFields(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`)
    .join('');
}

export function sendPublicPage(
  req: Request,
  res: Response,
  page: { view: string; title: string; data?: object },
): void {
  const done = typeof req.query.done === 'string' ? req.query.done : '';
  res
    .set('Cache-Control', 'no-store')
    .type('html')
    .send(eta.render(`./${page.view}`, { title: page.title, flash: flashOf(done), ...page.data }));
}
