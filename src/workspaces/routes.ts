import type { RequestHandler, Router } from 'express';
import { LessThan, MoreThan } from 'typeorm';
import { z } from 'zod';
import { OAuthStateEntity } from '../database/entities.ts';
import { AppError, answerOrError, badRequest, forbidden } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { parseJson, readBody } from '../http/body.ts';
import { limitRequests } from '../http/rate-limit.ts';
import { assertVerified } from '../http/signed.ts';
import { idField, optional } from '../intercom/fields.ts';
import { bodySignature, hubSignature } from '../intercom/signatures.ts';
import { MINUTE_MS } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { readCookie, setCookie } from './cookies.ts';
import { answerHealth } from './health.ts';
import { install, type Purpose } from './install.ts';
import { readWorkspace } from './repository.ts';
import { hashSecret, newSecret } from './secrets.ts';
import type { Sessions } from './sessions.ts';

const BROWSER_COOKIE = { name: 'st_oauth' };
const STATE_MINUTES = 10;
const MAX_UNINSTALL_BYTES = 64 * 1024;
/** Many people behind one address may install at the same time; a flood is far above it. */
const MAX_STARTS_PER_MINUTE = 600;
const MAX_NOTICES_PER_MINUTE = 60;
/** How often notices about one workspace may call Intercom. A notice that comes sooner waits: it may be the real one. */
const CONFIRM_EVERY_SECONDS = 10;

/**
 * `GET /install`, `GET /oauth/signin` and `GET /oauth/callback`. Signing in uses the same OAuth flow as installing, but
 * ends on another page. Source: Intercom, "Setting up OAuth" and "Installation status".
 */
export function installRouter(app: AppContext, signIn: Sessions['signIn']): Router {
  const router = createRouter();
  const limit = limitRequests(MAX_STARTS_PER_MINUTE);
  router.get('/install', limit, start(app, 'install'));
  router.get('/oauth/signin', limit, start(app, 'signin'));
  router.get('/oauth/callback', limit, finish(app, signIn));
  return router;
}

function start(app: AppContext, purpose: Purpose): RequestHandler {
  const { config } = app;
  return async (req, res) => {
    // All tabs of a browser share the value, so that each can finish what it has started.
    const browser = readCookie(app, req, BROWSER_COOKIE) || newSecret();
    const state = await createState(app, purpose, browser);
    setCookie(app, res, { ...BROWSER_COOKIE, value: browser, maxAgeS: STATE_MINUTES * 60 });
    const url = new URL('/oauth', config.intercom.appUrl);
    url.searchParams.set('client_id', config.intercom.clientId);
    url.searchParams.set('state', state);
    url.searchParams.set('redirect_uri', `${config.publicUrl}/oauth/callback`);
    res.set('Cache-Control', 'no-store');
    res.redirect(302, url.href);
  };
}

function finish(app: AppContext, signIn: Sessions['signIn']): RequestHandler {
  const appStoreUrl = (parameters: Record<string, string>): string =>
    `${new URL('/appstore/redirect', app.config.intercom.appUrl)}?${new URLSearchParams(parameters)}`;
  return async (req, res) => {
    res.set('Cache-Control', 'no-store');
    const { code, state, error } = callbackSchema.parse(req.query);
    const purpose = purposeIn(state);
    /** The App Store shows why an installation failed; a sign-in has only our own error page. */
    const fail = (reason: AppError): void => {
      if (purpose === 'signin') throw reason;
      res.redirect(302, appStoreUrl({ install_success: 'false', error_message: reason.message }));
    };
    const browser = readCookie(app, req, BROWSER_COOKIE);
    if (state === null || !(await takeState(app, browser, state))) {
      // UNVERIFIED whether the redirect of a refusal has the state: the answer is the same without it.
      return fail(forbidden(error !== null && state === null ? ACCESS_DENIED : STARTED_ELSEWHERE));
    }
    if (code === null) return fail(forbidden(ACCESS_DENIED));
    const failure = await answerOrError(install(app, code, purpose).then((who) => signIn(req, res, who)));
    if (failure instanceof AppError) {
      app.logger.warn(
        { code: failure.code, upstream: failure.upstreamStatus, purpose },
        'installation failed',
      );
      return fail(withoutDetails(failure));
    }
    res.redirect(302, purpose === 'signin' ? '/settings' : appStoreUrl({ install_success: 'true' }));
  };
}

/** Our own refusals name cause and fix. A code that Intercom does not accept is an error of the browser (403). */
function withoutDetails(failure: AppError): AppError {
  const { code } = failure;
  if (code === 'forbidden') return failure;
  const isRefused = code === 'intercom_unauthorized';
  const message = `Intercom did not ${isRefused ? 'accept the authorization' : 'answer as expected'}. Please try again.`;
  return new AppError(code, message, { status: isRefused ? 403 : 502 });
}

const queryText = optional(z.string().min(1).max(4_096));
/** A parameter that is not a single string counts as absent. */
const callbackSchema = z.object({
  // Base64 may contain `+`, which a query parser reads as a space when it was not escaped.
  code: queryText.transform((code) => code?.replaceAll(' ', '+') ?? null),
  state: queryText,
  error: queryText,
});

/** A missing or malformed state counts as `install`. */
function purposeIn(state: string | null): Purpose {
  return state?.split('.')[1] === 'signin' ? 'signin' : 'install';
}

/**
 * The hash binds a state to the browser that started the flow. A link with another person's state is refused, and this
 * browser can still finish its own flow.
 */
const hashState = (browser: string, state: string): string => hashSecret(`${browser}.${state}`);

/** @returns `<random>.<purpose>` */
async function createState(
  { database, now }: AppContext,
  purpose: Purpose,
  browser: string,
): Promise<string> {
  const { manager } = database;
  const state = `${newSecret()}.${purpose}`;
  await manager.delete(OAuthStateEntity, { expiresAt: LessThan(new Date(now())) });
  const expiresAt = new Date(now() + STATE_MINUTES * MINUTE_MS);
  await manager.insert(OAuthStateEntity, { stateHash: hashState(browser, state), purpose, expiresAt });
  return state;
}

/** Deletes a state, so that it works only once. @returns `false`: unknown, used, expired or from another browser */
async function takeState({ database, now }: AppContext, browser: string, state: string): Promise<boolean> {
  const live = { stateHash: hashState(browser, state), expiresAt: MoreThan(new Date(now())) };
  return (await database.manager.delete(OAuthStateEntity, live)).affected === 1;
}

const ACCESS_DENIED = 'Access was not granted in Intercom. Nothing was changed.';
const STARTED_ELSEWHERE = 'This was not started in this browser, or it took too long. Please start again.';

const SIGNATURES = [
  ['x-body-signature', bodySignature],
  ['x-hub-signature', hubSignature],
] as const;

const uninstallSchema = z.object({ app_id: idField.refine((id) => /^[\w.~-]{1,200}$/.test(id)) });
const healthSchema = z.object({ workspace_id: idField });

/**
 * `POST /intercom/uninstall`: verified when signed, and always confirmed with the token. Whether it is signed is not
 * documented; public apps report `X-Body-Signature` (UNVERIFIED). The response is sent before the workspace is looked
 * up, so that its timing does not reveal who has the app. A flood of notices becomes one job every ten seconds.
 */
export function uninstallRouter(app: AppContext): Router {
  const { database, jobs, logger } = app;

  async function queueConfirmation(workspaceId: string): Promise<void> {
    const workspace = await readWorkspace(database, workspaceId);
    if (!workspace?.accessToken) return;
    const options = { key: workspaceId, atMostEverySeconds: CONFIRM_EVERY_SECONDS };
    await jobs.send('workspace.confirm-uninstall', { workspaceId }, options);
    // Whether Intercom revokes the token before it sends the notice is UNVERIFIED: checked again a minute later.
    const later = { key: `${workspaceId}/later`, afterSeconds: 60 };
    await jobs.send('workspace.confirm-uninstall', { workspaceId }, later);
  }

  const router = createRouter();
  const limitUnsigned = limitRequests(MAX_NOTICES_PER_MINUTE);
  /**
   * Reads a notice of any content type: the headers are not documented either (UNVERIFIED). Limits only unsigned notices:
   * signed ones may come from the same address, such as that of a proxy.
   */
  const readNotice: RequestHandler = async (req, res, next) => {
    const { clientSecret: secret } = app.config.intercom;
    const body = await readBody(req, res, MAX_UNINSTALL_BYTES);
    const signatures = SIGNATURES.filter(([header]) => req.headers[header] !== undefined);
    for (const [, scheme] of signatures)
      assertVerified(scheme.verify({ secret, body, headers: req.headers }));
    req.body = parseJson(body.toString());
    if (signatures.length === 0) return limitUnsigned(req, res, next);
    next();
  };
  router.post('/', readNotice, (req, res) => {
    const body = uninstallSchema.safeParse(req.body);
    if (!body.success) throw badRequest('The body must be {"app_id": "…"}');
    const workspaceId = body.data.app_id;
    res.json({ status: 'ok' });
    queueConfirmation(workspaceId).catch((error: unknown) =>
      logger.error({ err: error, workspaceId }, 'uninstall notice not queued'),
    );
  });
  return router;
}

/** `POST /intercom/health`; mounted after the check of its signature. */
export function healthRouter(app: AppContext): Router {
  const router = createRouter();
  router.post('/', async (req, res) => {
    const body = healthSchema.safeParse(req.body);
    if (!body.success) throw badRequest('The body must be {"workspace_id": "…"}');
    try {
      res.json(await answerHealth(app, body.data.workspace_id));
    } catch (error) {
      app.logger.warn({ err: error }, 'health check failed');
      res.json({ state: 'UNKNOWN', message: 'The check could not be made. It is repeated.' });
    }
  });
  return router;
}
