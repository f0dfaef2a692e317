import type { Request, RequestHandler, Response, Router } from 'express';
import { createRouter } from '../http/app.ts';
import { jsonBody } from '../http/body.ts';
import { languageOf } from '../i18n/languages.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { messengerSecretOf } from './api-keys.ts';
import { createAuthenticate } from './authenticate.ts';
import { findCustomerState, findCustomers } from './customer.ts';
import { answerFin } from './fin.ts';
import { localeSchema, readFields, signIdentityToken, userIdSchema, userSchema } from './identity-token.ts';
import { encryptClaims, newLinkId } from './support-link.ts';

const MAX_BODY_BYTES = 16 * 1024;

/**
 * For the customer's own backend and Intercom's Fin: `POST /api/messenger/token`, `POST /api/messenger/support-link`
 * and `GET` or `POST /api/fin/subscription`. Mounted at `/api`.
 */
export function messengerApiRouter(app: AppContext): Router {
  const { now } = app;
  const { publicUrl } = app.config;
  const authenticate = createAuthenticate(app);
  const body = jsonBody(MAX_BODY_BYTES);

  const token: RequestHandler = async (req, res) => {
    const holder = await authenticate(req, res, 'messenger');
    const user = readFields(userSchema, req.body);
    const secret = messengerSecretOf(app, holder);
    const customer = await findCustomerState(app, holder.workspaceId, user.userId);
    const signed = signIdentityToken(secret, user, { customer, nowMs: now() });
    send(res, { token: signed.token, expires_at: signed.expiresAtS });
  };

  const supportLink: RequestHandler = async (req, res) => {
    const holder = await authenticate(req, res, 'messenger');
    const user = readFields(userSchema, req.body);
    // For a language that is not supported, the page uses the browser's language.
    const locale = languageOf(readFields(localeSchema, req.body).locale);
    // A missing secret is reported to the engineer now, not to the customer later.
    messengerSecretOf(app, holder);
    const { workspaceId, keyId } = holder;
    const link = encryptClaims(app, 'link', { workspaceId, keyId, user, locale, linkId: newLinkId() });
    const url = new URL(`/support/${encodeURIComponent(workspaceId)}`, publicUrl);
    url.searchParams.set('token', link.token);
    send(res, { url: url.href, expires_at: link.expiresAtS });
  };

  async function answerFinFor(req: Request, res: Response, fields: unknown): Promise<void> {
    const { workspaceId, timezone } = await authenticate(req, res, 'fin');
    const { user_id: userId } = readFields(userIdSchema, fields);
    const customers = await findCustomers(app, workspaceId, userId);
    send(res, answerFin(customers, timezone, now()));
  }

  const router = createRouter();
  router.post('/messenger/token', body, token);
  router.post('/messenger/support-link', body, supportLink);
  router.get('/fin/subscription', (req, res) => answerFinFor(req, res, req.query));
  router.post('/fin/subscription', body, (req, res) => answerFinFor(req, res, req.body));
  return router;
}

function send(res: Response, answer: object): void {
  res.set('Cache-Control', 'no-store').json(answer);
}
