import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Eta } from 'eta';
import type { Request, Response, Router } from 'express';
import { AppError, answerOrError } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { sendAsset } from '../http/assets.ts';
import { workspaceOf } from '../http/request-log.ts';
import { LANGUAGES, languageOf } from '../i18n/languages.ts';
import { type Messages, messagesFor } from '../i18n/messages.ts';
import type { RefreshIfStale } from '../subscribers/refresh.ts';
import { stripInvisibleText } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readCookie, setCookie } from '../workspaces/cookies.ts';
import { findKeyHolder, type KeyHolder, messengerSecretOf } from './api-keys.ts';
import { type CustomerState, findCustomerState, findCustomers } from './customer.ts';
import { viewCustomer } from './customer-view.ts';
import { signIdentityToken } from './identity-token.ts';
import { SDK_REGIONS } from './snippets.ts';
import {
  decryptClaims,
  encryptClaims,
  expiredLink,
  invalidLink,
  markLinkOpened,
  type SupportClaims,
} from './support-link.ts';
import { supportPolicy } from './support-policy.ts';

const cookieOf = (workspaceId: string) => ({
  name: 'st_support',
  path: `/support/${encodeURIComponent(workspaceId)}`,
});
/** Events shown on the page; earlier ones are folded. */
const MAX_HISTORY = 10;

const eta = new Eta({ views: join(import.meta.dirname, 'views'), autoEscape: true, cache: true });
const style = readFileSync(join(import.meta.dirname, 'assets', 'support.css'));
let script: Promise<string> | null = null;

/**
 * The support page's script with the Messenger's SDK in it: no CDN is involved. Bundled once per process, for the first
 * page: esbuild is a process of its own, which most servers never need.
 */
function supportScript(): Promise<string> {
  script ??= bundle(join(import.meta.dirname, 'browser', 'support.js')).catch((error) => {
    script = null;
    throw error;
  });
  return script;
}

async function bundle(entryPoint: string): Promise<string> {
  const { build, stop } = await import('esbuild');
  try {
    const result = await build({
      entryPoints: [entryPoint],
      bundle: true,
      minify: true,
      write: false,
      format: 'iife',
      // Supports web views of phones that are some years old.
      target: 'es2020',
      logLevel: 'silent',
    });
    return result.outputFiles[0]?.text ?? '';
  } finally {
    // Ends esbuild's helper process.
    await stop();
  }
}

interface SupportSite {
  readonly app: AppContext;
  readonly refreshIfStale: RefreshIfStale;
}

/**
 * The hosted page for a web view or a help link: `GET /support/:workspaceId`, `POST /support/:workspaceId/token`
 * for renewing the identity token, and the page's files. Mounted at `/`.
 */
export function supportRouter(app: AppContext, refreshIfStale: RefreshIfStale): Router {
  const site = { app, refreshIfStale };
  const router = createRouter();
  router.get('/assets/support.css', (_req, res) => sendAsset(res, 'css', style));
  router.get('/assets/support.js', async (_req, res) => sendAsset(res, 'js', await supportScript()));
  router.get('/support/:workspaceId', (req, res) => {
    explainErrors(site, req, res);
    return show(site, req, res);
  });
  router.post('/support/:workspaceId/token', (req, res) => renewToken(app, req, res));
  return router;
}

/** Other routes show errors with a page for admins: it is in English and links to the settings. */
function explainErrors({ app }: SupportSite, req: Request, res: Response): void {
  res.locals.errorPage = ({ code, status }: AppError): string => {
    const { language, t } = messagesOf(req, null, 'UTC');
    setHeaders(app, req, res);
    const isRefused = status === 401;
    const refusal = code === 'link_expired' ? 'messenger.link.expired' : 'messenger.link.invalid';
    return eta.render('./problem', {
      language,
      title: t(isRefused ? refusal : 'messenger.title'),
      text: t(isRefused ? 'messenger.link.reopen' : 'messenger.unavailable'),
    });
  };
}

async function show(site: SupportSite, req: Request, res: Response): Promise<void> {
  const { app, refreshIfStale } = site;
  const access = await answerOrError(checkAccess(app, req));
  if (access instanceof AppError) {
    const about = { code: access.code, workspaceId: workspaceOf(req, res) };
    if (access.status === 401) app.logger.info(about, 'support link refused');
    throw access;
  }
  const { claims, holder, isLink } = access;
  // A session never extends itself. If the rest fails, the session lets the browser open the used link again.
  if (isLink) setSession(app, claims, res);
  const { workspaceId, region, timezone } = holder;
  const messages = messagesOf(req, claims.locale, timezone);
  const customers = await findCustomers(app, workspaceId, claims.user.userId);
  for (const customer of customers) refreshIfStale(workspaceId, customer);
  const identity = signToken(app, claims, { holder, customer: customers[0] ?? null });
  setHeaders(app, req, res);
  const html = eta.render('./support', {
    language: messages.language,
    t: messages.t,
    view: viewCustomer(customers, messages, app.now()),
    maxHistory: MAX_HISTORY,
    boot: {
      appId: workspaceId,
      region: SDK_REGIONS[region],
      jwt: identity?.token ?? '',
      renewUrl: `/support/${encodeURIComponent(workspaceId)}/token?page=${pageId(claims)}`,
    },
  });
  res.type('html').send(stripInvisibleText(html));
}

async function renewToken(app: AppContext, req: Request, res: Response): Promise<void> {
  res.set('Cache-Control', 'no-store');
  const { claims, holder } = await checkAccess(app, req);
  // A browser has one session: a page that was opened earlier for another customer must not become theirs.
  if (req.query.page !== pageId(claims)) throw invalidLink();
  const secret = messengerSecretOf(app, holder);
  const customer = await findCustomerState(app, holder.workspaceId, claims.user.userId);
  const identity = signIdentityToken(secret, claims.user, { customer, nowMs: app.now() });
  res.json({ token: identity.token, expires_at: identity.expiresAtS });
}

/** @throws AppError 401 for a link or session that is not valid or no longer valid */
async function checkAccess(app: AppContext, req: Request) {
  const workspaceId = String(req.params.workspaceId);
  const cookie = readCookie(app, req, cookieOf(workspaceId));
  const token = req.query.token;
  const isLink = typeof token === 'string' && req.method === 'GET';
  const claims = isLink
    ? decryptClaims(app, 'link', { token, workspaceId })
    : decryptClaims(app, 'session', { token: cookie, workspaceId });
  // Not from a replica: a key that was just revoked must not open anything.
  const holder = await findKeyHolder(app.database, workspaceId, { keyId: claims.keyId });
  if (!holder || holder.isRevoked) throw invalidLink();
  const isReopened = isLink && !(await markLinkOpened(app.database, claims, app.now()));
  if (isReopened && !hasOpened(app, claims, cookie)) throw expiredLink();
  return { claims, holder, isLink };
}

/** A link opens once; the browser that opened it, which has its session, may load the same address again. */
function hasOpened(app: AppContext, { workspaceId, linkId }: SupportClaims, cookie: string): boolean {
  try {
    return decryptClaims(app, 'session', { token: cookie, workspaceId }).linkId === linkId;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}

/** `null` without a Messenger secret: the page then shows the subscription only. */
function signToken(
  app: AppContext,
  { user, workspaceId }: SupportClaims,
  { holder, customer }: { holder: KeyHolder; customer: CustomerState | null },
) {
  if (holder.messengerSecret === null) {
    app.logger.warn({ code: 'messenger_secret_missing', workspaceId }, 'support page without the Messenger');
    return null;
  }
  return signIdentityToken(messengerSecretOf(app, holder), user, { customer, nowMs: app.now() });
}

function setSession(app: AppContext, claims: SupportClaims, res: Response): void {
  const { token, expiresAtS } = encryptClaims(app, 'session', claims);
  const maxAgeS = expiresAtS - Math.floor(app.now() / 1_000);
  setCookie(app, res, { ...cookieOf(claims.workspaceId), value: token, maxAgeS });
}

function setHeaders(app: AppContext, req: Request, res: Response): void {
  const origins = new Set([app.config.publicUrl, originOf(req)].filter((origin) => origin !== null));
  res.set({
    'Cache-Control': 'no-store',
    'Content-Security-Policy': supportPolicy([...origins].map((origin) => `${origin}/support/`)),
    // The link must not reach other sites.
    'Referrer-Policy': 'no-referrer',
    // Differs from the settings' value, or Intercom's script could open them in a window and act there as an admin.
    'Cross-Origin-Opener-Policy': 'same-origin-allow-popups',
  });
}

/** Ties a page to its customer, and to the key that ends it. */
function pageId({ keyId, user }: SupportClaims): string {
  return hash('sha256', `page|${keyId}|${user.userId}`, 'base64url').slice(0, 22);
}

/** In the language of the link, else the browser's, else English. */
function messagesOf(req: Request, locale: string | null, timeZone: string): Messages {
  const accepted = locale ?? (req.acceptsLanguages([...LANGUAGES]) || null);
  return messagesFor(languageOf(accepted) ?? 'en', timeZone);
}

/** The request's origin: the public address, behind a proxy that keeps the host. `null`: no usable host is named. */
function originOf(req: Request): string | null {
  return URL.parse(`${req.protocol}://${req.get('host') ?? ''}`)?.origin ?? null;
}
