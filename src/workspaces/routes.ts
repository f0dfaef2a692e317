import { parseCookie, stringifySetCookie } from 'cookie';
import { type RequestHandler, type Response, Router } from 'express';
import { z } from 'zod';
import { AppError, badRequest, forbidden } from '../errors.ts';
import { jsonBody, type RawRequest } from '../http/body.ts';
import { accept } from '../http/signed.ts';
import { bodySignature, hubSignature } from '../intercom/signatures.ts';
import { equalInConstantTime } from '../text.ts';
import { answerHealth } from './health.ts';
import { type InstallContext, type Installed, install } from './install.ts';
import { limitPerMinute } from './rate-limit.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { saveOAuthState, takeOAuthState } from './sessions-store.ts';
import { confirmUninstall } from './uninstall.ts';

const STATE_COOKIE = 'st_oauth';
const STATE_MINUTES = 10;
/** An office behind one address may install in many workspaces; a flood is far above it. */
const BEGINS_PER_MINUTE = 600;

/** What a visit to Intercom's consent page is for; kept with its state. */
type Purpose = 'install' | 'signin';

/**
 * `GET /install`, `GET /oauth/signin` and `GET /oauth/callback`. Signing in is the same visit to Intercom as
 * installing: it only ends elsewhere. Source: Intercom, "Setting up OAuth" and "Installation status".
 */
export function installRouter(
  context: InstallContext,
  signIn: (res: Response, installed: Installed) => Promise<void>,
): Router {
  const { config, database } = context;

  function begin(purpose: Purpose): RequestHandler {
    return async (_req, res) => {
      const state = newSecret();
      await saveOAuthState(database, hashSecret(state), purpose, STATE_MINUTES);
      setStateCookie(res, state, STATE_MINUTES * 60);
      const url = new URL('/oauth', config.intercom.appUrl);
      url.searchParams.set('client_id', config.intercom.clientId);
      url.searchParams.set('state', state);
      url.searchParams.set('redirect_uri', `${config.publicUrl}/oauth/callback`);
      res.set('Cache-Control', 'no-store');
      res.redirect(302, url.href);
    };
  }

  const finish: RequestHandler = async (req, res) => {
    res.set('Cache-Control', 'no-store');
    const { code, state, error } = readCallback(req.query);
    const cookie = parseCookie(req.headers.cookie ?? '')[STATE_COOKIE] ?? '';
    setStateCookie(res, '', 0);
    // The cookie binds the state to the browser that began: a link with somebody else's state goes nowhere.
    const purpose =
      state !== null && equalInConstantTime(state, cookie)
        ? await takeOAuthState(database, hashSecret(state))
        : null;
    if (purpose === null) {
      // Whether a refusal brings its state back is not documented (UNVERIFIED): it says the same without.
      fail(res, 'install', error !== null && state === null ? refused() : notBegunHere());
      return;
    }
    if (error !== null || code === null) {
      fail(res, purpose, refused());
      return;
    }
    try {
      const installed = await install(context, code);
      await signIn(res, installed);
      const success = new URL('/appstore/redirect', config.intercom.appUrl);
      success.searchParams.set('install_success', 'true');
      res.redirect(302, installed.isNew && purpose === 'install' ? success.href : '/settings');
    } catch (failure) {
      if (!(failure instanceof AppError)) throw failure;
      context.logger.warn(
        { code: failure.code, upstream: failure.upstreamStatus, purpose },
        'installation failed',
      );
      fail(
        res,
        purpose,
        failure.code === 'forbidden'
          ? failure
          : new AppError(failure.code, 'Intercom did not accept the installation. Please try again.', {
              status: 502,
            }),
      );
    }
  };

  /** The App Store shows why an installation failed; a sign-in has only our own error page. */
  function fail(res: Response, purpose: string, error: AppError): void {
    if (purpose === 'signin') throw error;
    const url = new URL('/appstore/redirect', config.intercom.appUrl);
    url.searchParams.set('install_success', 'false');
    url.searchParams.set('error_message', error.message);
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
  const limit = limitPerMinute(BEGINS_PER_MINUTE, context.now);
  router.get('/install', limit, begin('install'));
  router.get('/oauth/signin', limit, begin('signin'));
  router.get('/oauth/callback', limit, finish);
  return router;
}

/**
 * Reads the callback's query leniently: what is not one text is absent. A code is base64 and may hold `+`,
 * which a query's parser takes for a space when it was not escaped.
 */
function readCallback(query: unknown): { code: string | null; state: string | null; error: string | null } {
  const text = z.string().min(1).max(4_096).optional().catch(undefined);
  const { code, state, error } = z.object({ code: text, state: text, error: text }).parse(query);
  return { code: code?.replaceAll(' ', '+') ?? null, state: state ?? null, error: error ?? null };
}

function refused(): AppError {
  return forbidden('Access was not granted in Intercom. Nothing was installed.');
}

function notBegunHere(): AppError {
  return forbidden('This was not begun in this browser, or it took too long. Please start again.');
}

/**
 * `POST /intercom/uninstall`: verified when signed, and confirmed with the token in any case. Whether it is signed
 * and in which of Intercom's two ways is not documented (UNVERIFIED).
 */
export function uninstallRouter(context: InstallContext): Router {
  const SIGNATURES = [
    ['x-body-signature', bodySignature],
    ['x-hub-signature', hubSignature],
  ] as const;
  const bodySchema = z.object({
    app_id: z
      .union([z.string(), z.number()])
      .transform(String)
      .refine((id) => /^[\w.~-]{1,200}$/.test(id)),
  });
  const handle: RequestHandler = async (req, res) => {
    const { clientSecret } = context.config.intercom;
    for (const [header, scheme] of SIGNATURES) {
      if (req.headers[header] === undefined) continue;
      const { rawBody: body } = req as RawRequest;
      accept(scheme.verify({ secret: clientSecret, body, headers: req.headers, nowMs: context.now() }));
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
  router.post('/', jsonBody(64 * 1024), handle);
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
      res.json(await answerHealth(context, body.data.workspace_id));
    } catch (error) {
      context.logger.warn({ err: error }, 'health check failed');
      res.json({ state: 'UNKNOWN', message: 'The check could not be made; it is tried again.' });
    }
  });
  return router;
}
