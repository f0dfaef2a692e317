import { randomBytes } from 'node:crypto';
import escapeHtml from 'escape-html';
import { json, type Response, Router, urlencoded } from 'express';
import { z } from 'zod';
import { type Context, errorList } from './refusals.ts';
import type { IntercomScope, IntercomState, Token } from './state.ts';

const FROM_STORE = 'from_app_store';
const CODE_LIVES_MS = 10 * 60_000;

const tokenSchema = z.object({ code: z.string(), client_id: z.string(), client_secret: z.string() });
const authorizeSchema = z.object({
  client_id: z.string(),
  redirect_uri: z.string().min(1),
  state: z.string().default(''),
  workspace_id: z.string(),
});

/**
 * Intercom's pages in the browser: the App Store listing, the authorization and the page after an installation.
 * Source: Intercom, "Setting up OAuth" and "Installing and uninstalling apps".
 */
export function oauthPages(context: Pick<Context, 'state' | 'now' | 'clientId'>): Router {
  const { state, now, clientId } = context;
  const router = Router();

  router.get('/appstore', (_req, res) => {
    if (state.installUrl === null)
      return page(res, 404, 'App Store', '<p>The app has no direct installation URL.</p>');
    // A visitor from here wants to install, so the authorization page suggests a workspace without the app.
    res.cookie(FROM_STORE, '1', { path: '/oauth', maxAge: 600_000, sameSite: 'lax', httpOnly: true });
    page(
      res,
      200,
      'Subscription Timeline for RevenueCat',
      `<p>See a customer’s subscription beside the conversation, grant access, and build filters and Series on
      subscription events.</p>
      <p><a class="button" href="${escapeHtml(state.installUrl)}">Install</a></p>
      ${HINT}`,
    );
  });

  router.get('/oauth', (req, res) => {
    const query = req.query as Record<string, unknown>;
    if (query.client_id !== clientId)
      return page(res, 400, 'Unknown app', '<p>No app has this client_id.</p>');
    if (state.redirectUris.length === 0) {
      return page(res, 400, 'App not configured', '<p>The app has no registered redirect URL.</p>');
    }
    const redirectUri = query.redirect_uri ?? state.redirectUris[0];
    if (typeof redirectUri !== 'string' || !state.redirectUris.includes(redirectUri)) {
      return page(res, 400, 'Wrong redirect URL', '<p>The redirect_uri is not registered for this app.</p>');
    }
    const isInstalling = (req.get('cookie') ?? '').includes(`${FROM_STORE}=1`);
    const workspaces = [...state.workspaces.values()];
    const suggested = isInstalling ? workspaces.find(({ installed }) => !installed) : workspaces[0];
    const options = workspaces
      .map(({ id, name, installed }) => {
        const label = `${name} (${installed ? 'app installed' : 'not installed yet'})`;
        const selected = id === suggested?.id ? ' selected' : '';
        return `<option value="${escapeHtml(id)}"${selected}>${escapeHtml(label)}</option>`;
      })
      .join('');
    page(
      res,
      200,
      'Subscription Timeline wants to access your workspace',
      `<form method="post" action="/oauth/authorize">
      <input type="hidden" name="client_id" value="${escapeHtml(clientId)}">
      <input type="hidden" name="redirect_uri" value="${escapeHtml(redirectUri)}">
      <input type="hidden" name="state" value="${escapeHtml(typeof query.state === 'string' ? query.state : '')}">
      <label for="workspace">Workspace</label>
      <select id="workspace" name="workspace_id">${options}</select>
      <p>The app asks for these permissions:</p>
      <ul>${state.appScopes.map((scope) => `<li>${escapeHtml(SCOPE_LABELS[scope])} <code>${escapeHtml(scope)}</code></li>`).join('')}</ul>
      <button type="submit">Authorize access</button>
    </form>
    ${HINT}`,
    );
  });

  router.post('/oauth/authorize', urlencoded({ extended: false }), (req, res) => {
    const parsed = authorizeSchema.safeParse(req.body ?? {});
    if (!parsed.success) return page(res, 400, 'Bad request', '<p>The form is incomplete.</p>');
    const form = parsed.data;
    if (form.client_id !== clientId || !state.redirectUris.includes(form.redirect_uri)) {
      return page(res, 400, 'Bad request', '<p>Unknown app or redirect URL.</p>');
    }
    const admin = [...state.admins.values()].find(
      (each) => !each.isBot && each.workspaceId === form.workspace_id,
    );
    if (!state.workspaces.has(form.workspace_id) || !admin) {
      return page(res, 400, 'Bad request', '<p>Unknown workspace, or one without a teammate.</p>');
    }
    // Real codes can end in "=", which is lost by clients that do not decode the query.
    const code = `${randomBytes(16).toString('base64url')}=`;
    state.codes.set(code, {
      workspaceId: form.workspace_id,
      adminId: admin.id,
      expiresAtMs: now() + CODE_LIVES_MS,
    });
    const target = new URL(form.redirect_uri);
    target.searchParams.set('code', code);
    target.searchParams.set('state', form.state);
    res.redirect(302, target.href);
  });

  router.get('/appstore/redirect', (req, res) => {
    const { install_success: success, error_message: message } = req.query;
    if (success === 'true') {
      const settings = state.installUrl === null ? '' : new URL('/settings', state.installUrl).href;
      const next = `<p><a class="button" href="${escapeHtml(settings)}">Open the app’s settings</a></p>`;
      return page(
        res,
        200,
        'App installed',
        `<p>The app is installed in your workspace. Next, connect RevenueCat in its settings.</p>
        ${settings === '' ? '' : next}${HINT}`,
      );
    }
    const reason = typeof message === 'string' ? message : 'Unknown error';
    page(res, 200, 'App not installed', `<p>${escapeHtml(reason)}</p>${HINT}`);
  });

  return router;
}

/** The exchange of an authorization code for a token. */
export function tokenRoute({ state, now, clientId, clientSecret }: Context): Router {
  const router = Router();

  router.post('/auth/eagle/token', json(), urlencoded({ extended: false }), (req, res) => {
    const body = tokenSchema.safeParse(req.body ?? {});
    const refuse = (message: string): void => void res.status(401).json(errorList('unauthorized', message));
    if (!body.success || body.data.client_id !== clientId || body.data.client_secret !== clientSecret) {
      return refuse('Unauthorized Client');
    }
    const grant = state.codes.get(body.data.code);
    // Single use: a second exchange of the same code is refused like a wrong one.
    state.codes.delete(body.data.code);
    if (!grant || grant.expiresAtMs < now()) return refuse('Unauthorized Code');
    const { token } = insertToken(state, grant.workspaceId, state.appScopes, grant.adminId);
    const workspace = state.workspaces.get(grant.workspaceId);
    if (workspace) workspace.installed = true;
    res.json({ token_type: 'Bearer', token, access_token: token });
  });

  return router;
}

/**
 * Makes a valid token of a workspace, in the name of one of its teammates.
 *
 * @throws Error when the workspace has no teammate
 */
export function insertToken(
  state: IntercomState,
  workspaceId: string,
  scopes: readonly IntercomScope[],
  adminId?: string,
): Token {
  const admin =
    adminId ?? [...state.admins.values()].find((each) => !each.isBot && each.workspaceId === workspaceId)?.id;
  if (admin === undefined) throw new Error(`Workspace ${workspaceId} has no teammate: add one first`);
  const token: Token = {
    token: `dG9rOn${randomBytes(30).toString('base64url')}=`,
    workspaceId,
    adminId: admin,
    scopes: new Set(scopes),
    status: 'valid',
  };
  state.tokens.set(token.token, token);
  return token;
}

/** Revokes every token of the workspace, as an uninstall in Intercom does. */
export function revokeTokens(state: IntercomState, workspaceId: string): void {
  for (const token of state.tokens.values()) if (token.workspaceId === workspaceId) token.status = 'revoked';
  const workspace = state.workspaces.get(workspaceId);
  if (workspace) workspace.installed = false;
}

const SCOPE_LABELS: Readonly<Record<IntercomScope, string>> = {
  read_users: 'See users and leads',
  write_users: 'Change users and leads',
  write_events: 'Record events',
  gather_app_data: 'Use data in apps',
  write_data_attributes: 'Create data attributes',
  read_conversations: 'See conversations',
  write_conversations: 'Write in conversations',
  read_admins: 'See teammates',
};

const HINT = '<p class="hint">Simulated. In production this is a page of Intercom.</p>';

const STYLE = `
:root { color-scheme: light dark; --ground: #f8f8f7; --sheet: #fff; --ink: #1a1a1a; --muted: #646462; --line: #e4e4e0; --field: #8f8f8b; --action: #37761f; --on-action: #fff; }
@media (prefers-color-scheme: dark) { :root { --ground: #161617; --sheet: #222224; --ink: #f2f2f0; --muted: #a8a8a4; --line: #39393c; --field: #77777a; --action: #8fd078; --on-action: #10240a; } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 Inter, system-ui, "Segoe UI", Roboto, "Open Sans", sans-serif; }
main { max-width: 34rem; margin: 0 auto; padding: 3.5rem 1rem; }
h1 { margin: 0 0 1.5rem; font-size: 1.4rem; line-height: 1.3; }
label { display: block; margin-bottom: 0.3rem; font-weight: 600; }
select { width: 100%; padding: 0.6rem; border: 1px solid var(--field); border-radius: 8px; background: var(--sheet); color: inherit; font: inherit; }
ul { margin: 0 0 1.5rem; padding: 0; }
li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; margin-bottom: 0.5rem; padding: 0.6rem 1rem; border: 1px solid var(--line); border-radius: 12px; list-style: none; }
code, .hint { color: var(--muted); font-size: 0.85rem; }
code { line-height: 1.8; }
button, .button { display: block; width: 100%; padding: 0.7rem; border: 1px solid transparent; border-radius: 999px; background: var(--action); color: var(--on-action); font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; box-sizing: border-box; }
:focus-visible { outline: 3px solid #5f74f0; outline-offset: 2px; }`;

function page(res: Response, status: number, title: string, body: string): void {
  res
    .status(status)
    .type('html')
    .send(
      `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>${STYLE}</style><main><h1>${escapeHtml(title)}</h1>${body}</main></html>`,
    );
}
