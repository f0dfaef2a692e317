import { type Request, type RequestHandler, type Response, Router } from 'express';
import { AppError } from '../errors.ts';
import { rawJson } from '../http/raw-body.ts';
import { knownLanguage } from '../inbox-card/language.ts';
import { secretLocation } from '../workspaces/secrets.ts';

import { createBearers } from './bearer.ts';
import type { MessengerContext } from './context.ts';
import { findOwnState, readOwnCustomers } from './customer.ts';
import { answerFin } from './fin.ts';
import { mintIdentityToken } from './identity-token.ts';
import type { MessengerWorkspace } from './store.ts';
import { signSupportLink } from './support-link.ts';
import { readUser, readUserId } from './user-input.ts';

const MAX_BODY_BYTES = 16 * 1024;

/**
 * What the customer's own backend, and Intercom's Fin, ask us: `POST /api/messenger/token`,
 * `POST /api/messenger/support-link` and `GET` or `POST /api/fin/subscription`. Mounted at `/api`.
 */
export function messengerApiRouter(context: MessengerContext): Router {
  const { readDatabase, publicUrl, linkKey, now } = context;
  const bearers = createBearers(context);
  const body = rawJson(MAX_BODY_BYTES);

  const token: RequestHandler = async (req, res) => {
    const holder = await bearers.authenticate(req, res, 'messenger');
    const user = readUser(req.body);
    const secret = openMessengerSecret(context, holder);
    const subscriber = await findOwnState(context, holder.workspaceId, user.userId);
    const minted = mintIdentityToken(secret, user, subscriber, now());
    send(res, { token: minted.token, expires_at: minted.expiresAtS });
  };

  const supportLink: RequestHandler = async (req, res) => {
    const holder = await bearers.authenticate(req, res, 'messenger');
    const user = readUser(req.body);
    const locale = readLocale((req.body as Record<string, unknown>).locale);
    // Said to the engineer now, not to the customer later.
    openMessengerSecret(context, holder);
    const { workspaceId, keyId } = holder;
    const link = signSupportLink(linkKey, { workspaceId, keyId, user, locale }, now());
    const url = new URL(`/support/${encodeURIComponent(workspaceId)}`, publicUrl);
    url.searchParams.set('token', link.token);
    send(res, { url: url.href, expires_at: link.expiresAtS });
  };

  async function answerFinFor(req: Request, res: Response, userId: unknown): Promise<void> {
    const holder = await bearers.authenticate(req, res, 'fin');
    const { workspaceId, timezone } = holder;
    const customers = await readOwnCustomers(readDatabase, workspaceId, readUserId(userId), now());
    send(res, answerFin(customers, timezone));
  }

  const router = Router();
  router.post('/messenger/token', body, token);
  router.post('/messenger/support-link', body, supportLink);
  router.get('/fin/subscription', (req, res) => answerFinFor(req, res, req.query.user_id));
  router.post('/fin/subscription', body, (req, res) =>
    answerFinFor(req, res, (req.body as { user_id?: unknown } | undefined)?.user_id),
  );
  return router;
}

/**
 * The workspace's Messenger secret.
 *
 * @throws AppError 409 when no admin has pasted it
 */
export function openMessengerSecret(
  context: Pick<MessengerContext, 'secrets'>,
  workspace: MessengerWorkspace,
): string {
  if (workspace.messengerSecret === null) {
    throw new AppError(
      'messenger_secret_missing',
      'This workspace has no Messenger secret yet. Copy it in Intercom from Settings, Channels, Messenger, Security and paste it in our settings, Messenger',
      { status: 409 },
    );
  }
  return context.secrets.decrypt(
    workspace.messengerSecret,
    secretLocation.messengerSecret(workspace.workspaceId),
  );
}

function readLocale(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string' && /^[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,3}$/.test(value)) {
    // A language that we do not speak is no mistake: the page then speaks the browser's.
    return knownLanguage(value);
  }
  throw new AppError('locale_invalid', '"locale" must be a language tag such as "de" or "pt-BR"', {
    status: 400,
  });
}

/** Tokens and customers' data are for the one who asked. */
function send(res: Response, answer: object): void {
  res.set('Cache-Control', 'no-store').json(answer);
}
