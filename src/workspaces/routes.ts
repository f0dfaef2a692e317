import { parseCookie, stringifySetCookie } from 'cookie';
import { type RequestHandler, type Response, Router } from 'express';
import { z } from 'zod';
import { AppError, badRequest, unauthorized } from '../errors.ts';
import { type RawRequest, rawJson } from '../http/raw-body.ts';
import { verifyBodySignature } from '../intercom/signatures.ts';
import { checkHealth } from './health.ts';
import { type InstallContext, install } from './install.ts';
import { equalInConstantTime, hashSecret, newSecret } from './secrets.ts';
import { saveOAuthState, takeOAuthState } from './store.ts';
import { confirmUninstall } from './uninstall.ts';

const STATE_COOKIE = 'st_oauth';
const STATE_MINUTES = 10;

/** `GET /install` and `GET /oauth/callback`. Source: Intercom, "Setting up OAuth" and "Installation status". */
export function installRouter(
  context: InstallContext,
  signIn: (res: Response, installed: Awaited<ReturnType<typeof install>>) => Promise<void>,
): Router {
  const { config, database } = context;

  const begin: RequestHandler = async (_req, res) => {
    const state = newSecret();
    await saveOAuthState(database, hashSecret(state), 'install', STATE_MINUTES);
    setStateCookie(res, state, STATE_MINUTES * 60);
    const url = new URL('/oauth', config.intercom.appUrl);
    url.searchParams.set('client_id', config.intercom.clientId);
    url.searchParams.set('state', state);
    url.searchParams.set('redirect_uri', `${config.publicUrl}/oauth/callback`);
    res.redirect(302, url.href);
  };

  const finish: RequestHandler = async (req, res) => {
    const query = z
      .object({ code: z.string().optional(), state: z.string().optional(), error: z.string().optional() })
      .safeParse(req.query);
    const { code, state, error } = query.success ? query.data : {};
    const cookie = parseCookie(req.headers.cookie ?? '')[STATE_COOKIE] ?? '';
    setStateCookie(res, '', 0);
    // The cookie binds the state to the browser that began: a link with somebody else's state goes nowhere.
    if (!state || !equalInConstantTime(state, cookie) || !(await takeOAuthState(database, hashSecret(state)))) {
      sendFailure(res, 'This installation was not begun in this browser, or took too long. Please start again.');
      return;
    }
    if (error || !code) {
      sendFailure(res, 'Access was not granted in Intercom. Nothing was installed.');
      return;
    }
    try {
      const installed = await install(context, code);
      await signIn(res, installed);
      const success = new URL('/appstore/redirect', config.intercom.appUrl);
      success.searchParams.set('install_success', 'true');
      res.redirect(302, installed.isNew ? success.href : '/settings');
    } catch (failure) {
      if (!(failure instanceof AppError)) throw failure;
      context.logger.warn({ code: failure.code, upstream: failure.upstreamStatus }, 'installation failed');
      sendFailure(res, failure.code === 'forbidden' ? failure.message : 'Intercom did not accept the installation. Please try again.');
    }
  };

  function sendFailure(res: Response, message: string): void {
    const url = new URL('/appstore/redirect', config.intercom.appUrl);
    url.searchParams.set('install_success', 'false');
    url.searchParams.set('error_message', message);
    res.redirect(302, url.href);
  }

  function setStateCookie(res: Response, value: string, maxAgeS: number): void {
    res.append(
      'Set-Cookie',
      stringifySetCookie({
        name: STATE_COOKIE,
        value,
        httpOnly: true,
        sameSite: 'lax',
        secure: config.production,
        path: '/oauth',
        maxAge: maxAgeS,
      }),
    );
  }

  const router = Router();
  router.get('/install', begin);
  router.get('/oauth/callback', finish);
  return router;
}

/** `POST /intercom/uninstall`: verified when signed, and confirmed with the token in any case. */
export function uninstallRouter(context: InstallContext): Router {
  const bodySchema = z.object({ app_id: z.union([z.string(), z.number()]).transform(String) });
  const handle: RequestHandler = async (req, res) => {
    const signature = req.get('X-Body-Signature');
    if (signature !== undefined) {
      const verdict = verifyBodySignature(context.config.intercom.clientSecret, (req as RawRequest).rawBody, signature);
      if (!verdict.ok) throw unauthorized(verdict.reason);
    }
    const body = bodySchema.safeParse(req.body);
    if (!body.success) throw badRequest('The body must be {"app_id": "…"}');
    const workspaceId = body.data.app_id;
    try {
      await confirmUninstall(context, workspaceId);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      await context.jobs.send('workspace.confirm-uninstall', { workspaceId });
    }
    res.json({ status: 'ok' });
  };
  const router = Router();
  router.post('/', rawJson(64 * 1024), handle);
  return router;
}

/** `POST /intercom/health`, behind its signature. */
export function healthRouter(context: InstallContext): Router {
  const bodySchema = z.object({ workspace_id: z.union([z.string(), z.number()]).transform(String) });
  const router = Router();
  router.post('/', async (req, res) => {
    const body = bodySchema.safeParse(req.body);
    if (!body.success) throw badRequest('The body must be {"workspace_id": "…"}');
    try {
      res.json(await checkHealth(context.database, body.data.workspace_id, context.config.publicUrl));
    } catch (error) {
      context.logger.warn({ err: error }, 'health check failed');
      res.json({ state: 'UNKNOWN', message: 'The check could not be made; it is tried again.' });
    }
  });
  return router;
}

