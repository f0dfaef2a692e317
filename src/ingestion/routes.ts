import { type RequestHandler, Router } from 'express';
import { z } from 'zod';
import type { Database } from '../database/sql.ts';
import { notFound, unauthorized } from '../errors.ts';
import { type RawRequest, rawBody } from '../http/body.ts';
import { type SecretBox, secretLocation } from '../workspaces/secrets.ts';
import type { Receiver } from './receiver.ts';
import { createRefusalNotes } from './refused-webhooks.ts';
import { shareReads } from './shared-read.ts';
import { authenticateWebhook, readWebhook } from './webhook.ts';
import { readWebhookTarget } from './webhook-target.ts';

const MAX_WEBHOOK_BYTES = 1024 * 1024;

const ANSWERS = {
  accepted: '{"status":"accepted"}',
  duplicate: '{"status":"duplicate"}',
} as const;

const REFUSED = {
  authorization: 'Wrong Authorization header',
  signature: 'Wrong or stale webhook signature',
} as const;

/** A workspace's id and a random part; anything else is no project of ours and is not looked up. */
const projectIdSchema = z.string().regex(/^[\w.~-]{1,200}$/);

/**
 * `POST /webhooks/revenuecat/:projectId`: 200 `{"status":"accepted"|"duplicate"}` after the commit. RevenueCat
 * repeats a webhook after any other answer.
 */
export function revenueCatWebhookRouter(options: {
  database: Database;
  receiver: Receiver;
  secrets: SecretBox;
  now: () => number;
  onReceived: (status: 'accepted' | 'duplicate') => void;
}): Router {
  const { database, secrets, now } = options;
  const recordRefusal = createRefusalNotes(database, now);
  const readTarget = shareReads((projectId) => readWebhookTarget(database, projectId));

  const receive: RequestHandler = async (req, res) => {
    const projectId = projectIdSchema.safeParse(req.params.projectId).data;
    const target = projectId === undefined ? null : await readTarget(projectId);
    if (!target) throw notFound('No such RevenueCat project is connected here');
    const { rawBody: body } = req as RawRequest;
    const mismatch = authenticateWebhook({
      target,
      signingSecret:
        target.signingSecret &&
        secrets.decrypt(
          target.signingSecret,
          secretLocation.signingSecret(target.workspaceId, target.projectId),
        ),
      authorization: req.get('authorization'),
      signature: req.get('x-revenuecat-webhook-signature'),
      rawBody: body,
      nowMs: now(),
    });
    if (mismatch !== null) {
      await recordRefusal(target.workspaceId, target.projectId, mismatch);
      throw unauthorized(REFUSED[mismatch]);
    }
    const event = readWebhook(body, now());
    if (!target.isInstalled) throw notFound('This workspace has uninstalled the app');
    const status = await options.receiver.receive(target.workspaceId, target.projectId, event);
    options.onReceived(status);
    // What `res.json` would send, without its looking for a serializer, an ETag and a fresh copy: as often as this.
    const answer = ANSWERS[status];
    res.writeHead(200, {
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': answer.length,
    });
    res.end(answer);
  };

  const router = Router();
  router.post('/:projectId', rawBody(MAX_WEBHOOK_BYTES), receive);
  return router;
}
