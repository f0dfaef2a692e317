import { type RequestHandler, Router } from 'express';
import { z } from 'zod';
import type { Database } from '../database/sql.ts';
import { notFound } from '../errors.ts';
import { type RawRequest, rawJson } from '../http/raw-body.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { readProject, readWorkspace, sealedAs, workspaceOfProject } from '../workspaces/store.ts';
import type { Receiver } from './receiver.ts';
import { authenticateWebhook, readWebhook } from './webhook.ts';

const LARGEST_WEBHOOK_BYTES = 1024 * 1024;

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

  const receive: RequestHandler = async (req, res) => {
    const projectId = projectIdSchema.safeParse(req.params.projectId).data;
    const workspaceId = projectId === undefined ? null : workspaceOfProject(projectId);
    const project =
      projectId === undefined || workspaceId === null
        ? null
        : await readProject(database, workspaceId, projectId);
    if (!project) throw notFound('No such RevenueCat project is connected here');
    const { rawBody } = req as RawRequest;
    authenticateWebhook({
      project,
      signingSecret:
        project.signingSecret &&
        secrets.open(project.signingSecret, sealedAs.signingSecret(project.workspaceId, project.projectId)),
      authorization: req.get('authorization'),
      signature: req.get('x-revenuecat-webhook-signature'),
      rawBody,
      nowMs: now(),
    });
    const event = readWebhook(rawBody, now());
    const workspace = await readWorkspace(database, project.workspaceId);
    if (!workspace || workspace.status === 'uninstalled')
      throw notFound('This workspace has uninstalled the app');
    const status = await options.receiver.receive(project.workspaceId, project.projectId, event);
    options.onReceived(status);
    res.json({ status });
  };

  const router = Router();
  router.post('/:projectId', rawJson(LARGEST_WEBHOOK_BYTES, { parse: false }), receive);
  return router;
}
