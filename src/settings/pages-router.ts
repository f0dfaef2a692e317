import { type Request, type RequestHandler, type Response, type Router, urlencoded } from 'express';
import { AppError, forbidden, notFound } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { readWorkspace } from '../workspaces/repository.ts';
import { sessionOf } from '../workspaces/sessions.ts';
import { assertAllowedToChange, isOfOtherWorkspace } from './change-settings.ts';
import {
  type Failure,
  type Form,
  type Outcome,
  type Page,
  type PageRequest,
  problems,
  sectionOf,
  untrimmedText,
} from './page.ts';
import { sendPage } from './render.ts';

const DEFAULT_FORM_BYTES = 64 * 1024;
/** For 2,000 teammates who are selected for each of the store actions. */
const MAX_FORM_FIELDS = 10_000;
/** How long a page waits for the replica to catch up before it is read from the primary. */
const REPLICA_WAIT_MS = 100;

type Site = Pick<PageRequest, 'app' | 'sessions' | 'menu'>;

/** Serves the pages of signed-in admins; mounted at `/settings`. */
export function pagesRouter(site: Site, pages: readonly Page[]): Router {
  const router = createRouter();
  const pagePaths = pages.map(({ path }) => path || '/');
  const readPageRequest: RequestHandler = async (req, res, next) => {
    res.locals.pageRequest = await readRequest(site, req, res);
    next();
  };
  router.use(site.sessions.requireSession);
  for (const page of pages) {
    const { path, status, downloads = {}, forms = {}, maxFormBytes: limit = DEFAULT_FORM_BYTES } = page;
    router.get(path || '/', readPageRequest, (_req, res) => show(page, res));
    if (status)
      router.get(`${path}/status`, readPageRequest, async (_req, res) => {
        res.set('Cache-Control', 'no-store').json(await status(requestOf(res)));
      });
    for (const [name, load] of Object.entries(downloads)) {
      router.get(`${path}${name}`, readPageRequest, requireChangeRight, async (_req, res) => {
        const { name: file, type, body } = await load(requestOf(res));
        res.set('Cache-Control', 'no-store').type(type).attachment(file).send(body);
      });
    }
    const readForm = urlencoded({ extended: false, limit, parameterLimit: MAX_FORM_FIELDS });
    for (const [name, form] of Object.entries(forms)) {
      const formPath = `${path}${name}` || '/';
      // A page that shows a form's problems has the form's URL. Opening that URL leads back to the page.
      if (!pagePaths.includes(formPath))
        router.get(formPath, (_req, res) => res.redirect(302, `/settings${path}`));
      const checks = [requireCurrent(site, page, name), requireChangeRight];
      router.post(formPath, readForm, readPageRequest, ...checks, async (_req, res) => {
        const outcome = await save(form, res);
        if (outcome.kind === 'problems') await show(page, res, { form: name, ...outcome });
        else await answer(page, outcome, res);
      });
    }
  }
  return router;
}

/** Admits a form of this session. A form of an earlier session is shown again, with everything that was typed. */
function requireCurrent({ sessions }: Site, page: Page, form: string): RequestHandler {
  return (req, res, next) =>
    sessions.requireCsrf(req, res, (error) => {
      const request = requestOf(res);
      // A form without any token is not from our pages.
      if (!error || !request.typed._csrf) return next(error);
      // Values that were typed for one workspace must not be offered in another.
      if (isOfOtherWorkspace(request)) return next(forbidden(signedInTo(request.workspace.name)));
      show(page, res, { form, problems: { '': SIGNED_IN_AGAIN }, status: 403 }).catch(next);
    });
}

const SIGNED_IN_AGAIN =
  'You have signed in again since this page was opened. Nothing was saved: check it, and send it again.';

const signedInTo = (workspace: string): string =>
  `Nothing was saved: since this page was opened, you have signed in to ${workspace}. To change the other workspace, sign in to it again.`;

function requestOf(res: Response): PageRequest {
  return res.locals.pageRequest as PageRequest;
}

const requireChangeRight: RequestHandler = async (_req, res, next) => {
  await assertAllowedToChange(requestOf(res));
  next();
};

/** @throws AppError `not_found` when the workspace was erased while its admin was signed in */
async function readRequest(
  site: Site,
  { method, body, query }: Request,
  res: Response,
): Promise<PageRequest> {
  const { app } = site;
  const session = sessionOf(res);
  const { workspaceId } = session;
  const openedAtMs = app.now();
  const [workspace, sql] = await Promise.all([
    readWorkspace(app.database, workspaceId),
    method === 'GET' ? app.readDatabase.upToDate(REPLICA_WAIT_MS) : app.database,
  ]);
  if (!workspace) throw notFound('This workspace no longer has the app installed');
  const typed = (body ?? {}) as Record<string, unknown>;
  const untrimmed = (name: string): string => untrimmedText(typed[name] ?? query[name]);
  const input = (name: string): string => untrimmed(name).trim();
  return { ...site, session, workspace, workspaceId, openedAtMs, sql, typed, input, untrimmed };
}

async function show(
  page: Page,
  res: Response,
  failed?: Omit<Failure, 'kind'> & { readonly form: string },
): Promise<void> {
  const request = requestOf(res);
  // The outdated form gets the current versions, so that saving it again replaces the stored settings.
  const typed = failed?.isOutdated ? { ...request.typed, _shown: null } : request.typed;
  await sendPage(res, request, {
    view: page.view ?? page.path.slice(1),
    title: page.title,
    section: sectionOf(page),
    problems: failed?.problems ?? {},
    status: failed?.status,
    typed: failed ? typed : {},
    data: { ...(await page.load(request)), failedForm: failed?.form ?? null, ...failed?.data },
  });
}

/** Errors that the page itself shows, because the admin can do something about them there. */
const EXPLAINED: readonly string[] = ['conflict', 'secret_unreadable', 'not_found'];

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
    if (!(error instanceof AppError) || !EXPLAINED.includes(error.code)) throw error;
    const { code, message } = error;
    const status = code === 'not_found' ? 404 : undefined;
    return { ...problems({ '': message }), isOutdated: code === 'conflict', status };
  }
}

async function answer(page: Page, outcome: Exclude<Outcome, Failure>, res: Response): Promise<void> {
  const request = requestOf(res);
  if (outcome.kind === 'page') {
    await sendPage(res, request, { ...outcome, section: sectionOf(page), problems: {}, typed: {} });
    return;
  }
  if (outcome.signsOut) await request.sessions.signOut(res.req, res);
  res.redirect(303, outcome.flash ? `${outcome.path}?done=${outcome.flash}` : outcome.path);
}
