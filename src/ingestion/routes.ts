import { type RequestHandler, Router } from 'express';
import { z } from 'zod';
import { createBatcher } from '../database/batcher.ts';
import type { Database } from '../database/sql.ts';
import { notFound, unauthorized } from '../errors.ts';
import { isLarge, type RawRequest, rawBody } from '../http/body.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { workspaceOfProject } from '../workspaces/projects.ts';
import { type SecretBox, secretLocation } from '../workspaces/secrets.ts';
import {
  authenticateWebhook,
  createRefusalNotes,
  isAuthorized,
  readWebhookTarget,
  type WebhookTarget,
} from './authenticate.ts';
import { type CheckedWebhook, checkWebhook } from './interpret.ts';
import type { Journal } from './journal.ts';
import type { ReceiptStatus } from './store-events.ts';

const MAX_WEBHOOK_BYTES = 1024 * 1024;

const RESPONSES = {
  accepted: '{"status":"accepted"}',
  duplicate: '{"status":"duplicate"}',
} as const;

const UNKNOWN_PROJECT = 'No such RevenueCat project is connected here';

const REFUSED = {
  authorization: 'Wrong Authorization header',
  signature: 'Wrong or stale webhook signature',
} as const;

/** A workspace's id and a random part; anything else is not looked up. */
const projectIdSchema = z.string().regex(/^[\w.~-]{1,200}$/);

/**
 * `POST /webhooks/revenuecat/:projectId`: 200 `{"status":"accepted"|"duplicate"}` after the commit. RevenueCat
 * repeats a webhook after any other response.
 */
export function revenueCatWebhookRouter(options: {
  database: Database;
  jobs: Jobs;
  journal: Journal;
  secrets: SecretBox;
  now: () => number;
  onReceived: (status: ReceiptStatus) => void;
}): Router {
  const { database, journal, secrets, now } = options;
  const recordRefusal = createRefusalNotes(options);
  const readTarget = createTargetReader(database);

  async function findTarget(projectId: string): Promise<WebhookTarget> {
    const target = await readTarget(projectId);
    if (!target) throw notFound(UNKNOWN_PROJECT);
    return target;
  }

  async function refuse(target: WebhookTarget, reason: keyof typeof REFUSED): Promise<never> {
    await recordRefusal(target, reason);
    throw unauthorized(REFUSED[reason]);
  }

  const receive: RequestHandler = async (req, res) => {
    const projectId = projectIdSchema.safeParse(req.params.projectId).data;
    const workspaceId = projectId === undefined ? null : workspaceOfProject(projectId);
    if (projectId === undefined || workspaceId === null) throw notFound(UNKNOWN_PROJECT);
    const status = await journal.appendVerified({ workspaceId, projectId }, () =>
      verify(req as RawRequest, projectId),
    );
    options.onReceived(status);
    // What `res.json` would send, without its serializer lookup, its ETag and its copy of the body.
    const response = RESPONSES[status];
    res.writeHead(200, {
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': response.length,
    });
    res.end(response);
  };

  async function verify(req: RawRequest, projectId: string): Promise<CheckedWebhook> {
    const target = await findTarget(projectId);
    const { rawBody: body } = req;
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
    if (mismatch !== null) await refuse(target, mismatch);
    const webhook = checkWebhook(body);
    if (!target.isInstalled) throw notFound('This workspace has uninstalled the app');
    return webhook;
  }

  /** Refuses a wrong key before a large body is read. */
  const checkKey: RequestHandler = async (req, _res, next) => {
    if (isLarge(req)) {
      const target = await findTarget(String(req.params.projectId));
      if (!isAuthorized(target, req.get('authorization'))) await refuse(target, 'authorization');
    }
    next();
  };

  const router = Router({ strict: true, caseSensitive: true });
  router.post('/:projectId', checkKey, rawBody(MAX_WEBHOOK_BYTES), receive);
  return router;
}

/** Concurrent requests for one project share a read. It starts after they arrived, so it is never out of date. */
function createTargetReader(database: Database): (projectId: string) => Promise<WebhookTarget | null> {
  return createBatcher(
    async (projectIds: readonly string[]) => {
      const reads = [...new Set(projectIds)].map(
        async (projectId) => [projectId, await readWebhookTarget(database, projectId)] as const,
      );
      const targets = new Map(await Promise.all(reads));
      return projectIds.map((projectId) => targets.get(projectId) ?? null);
    },
    { most: 250, parallel: 4, worthAnother: 24 },
  );
}
