import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCookie, stringifySetCookie } from 'cookie';
import { Eta } from 'eta';
import { type Request, type RequestHandler, type Response, Router } from 'express';
import { AppError } from '../errors.ts';
import { CARD_LANGUAGES } from '../workspaces/settings.ts';
import type { Region } from '../workspaces/store.ts';
import { openMessengerSecret } from './api-routes.ts';
import type { Bundle } from './bundle.ts';
import type { MessengerContext } from './context.ts';
import { findOwnState, needsRefresh, type OwnSubscriber, readOwnCustomers } from './customer.ts';
import { viewCustomer } from './customer-view.ts';
import { type IdentityToken, mintIdentityToken } from './identity-token.ts';
import { type KeyHolder, readKeyHolderById } from './store.ts';
import {
  readSupportLink,
  readSupportSession,
  type SupportGrant,
  signSupportSession,
} from './support-link.ts';
import { supportPolicy } from './support-policy.ts';
import { type Speech, speechFor } from './words.ts';

const COOKIE = 'st_support';
/** Events that stand on the page; earlier ones are behind a word that opens them. */
const MAX_HISTORY = 10;
const ASSETS = join(import.meta.dirname, 'assets');

/** The SDK's names; it calls Australia `ap`. Source: `@intercom/messenger-js-sdk`. */
const SDK_REGIONS: Readonly<Record<Region, 'us' | 'eu' | 'ap'>> = { US: 'us', EU: 'eu', AU: 'ap' };

/**
 * The hosted page for a web view or a help link: `GET /support/:workspaceId`, `POST /support/:workspaceId/token`
 * for renewing the identity token, and the page's files. Mounted at `/`.
 *
 * @param script the page's script with the Messenger's SDK in it
 */
export function supportRouter(context: MessengerContext, script: Bundle): Router {
  const { database, readDatabase, linkKey, logger, now, publicUrl } = context;
  const eta = new Eta({ views: join(import.meta.dirname, 'views'), autoEscape: true, cache: true });
  const style = readFileSync(join(ASSETS, 'support.css'), 'utf8');
  const styleVersion = createHash('sha256').update(style).digest('hex').slice(0, 12);

  /** @throws AppError 401 for a link or session that opens nothing (any more) */
  async function open(req: Request): Promise<{ grant: SupportGrant; holder: KeyHolder }> {
    const workspaceId = String(req.params.workspaceId);
    const link = req.query.token;
    const grant =
      typeof link === 'string' && req.method === 'GET'
        ? readSupportLink(linkKey, link, workspaceId, now())
        : readSupportSession(
            linkKey,
            parseCookie(req.headers.cookie ?? '')[COOKIE] ?? '',
            workspaceId,
            now(),
          );
    // Not from a replica: a key that was just revoked must not open anything.
    const holder = await readKeyHolderById(database, workspaceId, grant.keyId);
    if (!holder || holder.isRevoked) {
      throw new AppError('link_invalid', 'This link is no longer valid: open the page from the app again', {
        status: 401,
      });
    }
    return { grant, holder };
  }

  /** `null` where the Messenger cannot be had: the page then shows the subscription alone. */
  function mint(grant: SupportGrant, holder: KeyHolder, own: readonly OwnSubscriber[]): IdentityToken | null {
    try {
      return mintIdentityToken(openMessengerSecret(context, holder), grant.user, own[0] ?? null, now());
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      logger.warn(
        { code: error.code, workspaceId: holder.workspaceId },
        'support page without the Messenger',
      );
      return null;
    }
  }

  function setSession(res: Response, grant: SupportGrant): void {
    const session = signSupportSession(linkKey, grant, now());
    res.append(
      'Set-Cookie',
      stringifySetCookie({
        name: COOKIE,
        value: session.token,
        httpOnly: true,
        sameSite: 'lax',
        secure: context.production,
        path: `/support/${encodeURIComponent(grant.workspaceId)}`,
        maxAge: session.expiresAtS - Math.floor(now() / 1_000),
      }),
    );
  }

  function protect(req: Request, res: Response): void {
    const origins = new Set([publicUrl, originOf(req)].filter((origin) => origin !== null));
    res.set({
      'Cache-Control': 'no-store',
      'Content-Security-Policy': supportPolicy([...origins].map((origin) => `${origin}/support/`)),
      // The address of a link must not travel on.
      'Referrer-Policy': 'no-referrer',
    });
  }

  const show: RequestHandler = async (req, res) => {
    try {
      const { grant, holder } = await open(req);
      const { workspaceId, region, timezone } = holder;
      const speech = speechOf(req, grant.locale);
      const customers = await readOwnCustomers(readDatabase, workspaceId, grant.user.userId, now());
      for (const customer of customers) refreshBehind(context, workspaceId, customer);
      const identity = mint(grant, holder, customers);
      if (req.query.token !== undefined) setSession(res, grant);
      protect(req, res);
      const html = eta.render('./support', {
        language: speech.language,
        words: speech.words,
        view: viewCustomer(customers, speech, timezone),
        mostHistory: MAX_HISTORY,
        boot: {
          appId: workspaceId,
          region: SDK_REGIONS[region],
          jwt: identity?.token ?? '',
          expiresAt: identity?.expiresAtS ?? '',
          renewUrl: `/support/${encodeURIComponent(workspaceId)}/token?page=${markOf(grant)}`,
        },
        styleVersion,
        scriptVersion: script.version,
      });
      res.type('html').send(html);
    } catch (error) {
      if (!(error instanceof AppError) || error.status !== 401) throw error;
      logger.info({ code: error.code, workspaceId: req.params.workspaceId }, 'support link refused');
      if (req.accepts(['html', 'json']) !== 'html') throw error;
      const speech = speechOf(req, null);
      protect(req, res);
      const problem = error.code === 'link_expired' ? speech.words.linkExpired : speech.words.linkInvalid;
      const html = eta.render('./problem', { language: speech.language, problem, styleVersion });
      res.status(401).type('html').send(html);
    }
  };

  /** Names the customer of a page to this server alone. */
  function markOf({ workspaceId, user }: SupportGrant): string {
    const about = JSON.stringify([workspaceId, user.userId]);
    return createHmac('sha256', `support-page|${linkKey}`).update(about).digest('base64url').slice(0, 22);
  }

  const renew: RequestHandler = async (req, res) => {
    res.set('Cache-Control', 'no-store');
    const { grant, holder } = await open(req);
    // The browser holds one session: a page that was opened before for another customer must not become theirs.
    if (req.query.page !== markOf(grant)) {
      throw new AppError('link_invalid', 'This page is no longer valid: open it from the app again', {
        status: 401,
      });
    }
    const secret = openMessengerSecret(context, holder);
    const own = await findOwnState(context, holder.workspaceId, grant.user.userId);
    const identity = mintIdentityToken(secret, grant.user, own, now());
    res.json({ token: identity.token, expires_at: identity.expiresAtS });
  };

  const router = Router();
  router.get('/assets/support.css', (_req, res) => {
    res.set('Cache-Control', 'public, max-age=86400').type('css').send(style);
  });
  router.get('/assets/support.js', (_req, res) => {
    res.set('Cache-Control', 'public, max-age=86400').type('js').send(script.code);
  });
  router.get('/support/:workspaceId', show);
  router.post('/support/:workspaceId/token', renew);
  return router;
}

/** The language of the link, else the browser's, else English. */
function speechOf(req: Request, locale: string | null): Speech {
  return speechFor(locale ?? (req.acceptsLanguages([...CARD_LANGUAGES]) || null));
}

/** Behind a proxy that keeps the host this is the public address; `null`: the request names no usable host. */
function originOf(req: Request): string | null {
  return URL.parse(`${req.protocol}://${req.get('host') ?? ''}`)?.origin ?? null;
}

/** Old data starts a refresh behind the view; the view itself asks nobody. */
export function refreshBehind(
  context: Pick<MessengerContext, 'requestRefresh' | 'logger' | 'now'>,
  workspaceId: string,
  subscriber: OwnSubscriber,
): void {
  if (!needsRefresh(subscriber, context.now())) return;
  context.requestRefresh(workspaceId, subscriber.subscriberId).catch((error: unknown) => {
    context.logger.warn({ err: error, workspaceId }, 'could not queue a refresh');
  });
}
