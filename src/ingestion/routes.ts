import { createHmac } from 'node:crypto';
import type { Request, RequestHandler, Router } from 'express';
import { LRUCache } from 'lru-cache';
import { createBatcher } from '../database/batcher.ts';
import { AppError, badRequest, notFound, unauthorized } from '../errors.ts';
import { createRouter } from '../http/app.ts';
import { isLarge, type RawRequest, rawBody } from '../http/body.ts';
import { eventIdOf, identifiersOf, keyText } from '../subscription/read-event.ts';
import { equalInConstantTime, isRecord } from '../text.ts';
import { expiresAfter } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import {
  type ProjectKey,
  readWebhookTarget,
  updateProject,
  type WebhookMismatch,
  type WebhookTarget,
} from '../workspaces/projects.ts';
import { hashSecret, secretLocation } from '../workspaces/secrets.ts';
import type { CheckedWebhook, Journal, ReceiptStatus } from './journal.ts';

/** Each process records refusals of a project at most this often, ms. */
const RECORD_EVERY_MS = 60_000;

/** Records that a project's webhook was refused, and reports it to Intercom. */
export function createRefusalRecorder(app: Pick<AppContext, 'database' | 'jobs' | 'now'>) {
  const recorded = new LRUCache<string, true>({ max: 1_000, ...expiresAfter(RECORD_EVERY_MS, app.now) });
  return async ({ workspaceId, projectId }: ProjectKey, refusedFor: WebhookMismatch): Promise<void> => {
    if (recorded.has(projectId)) return;
    recorded.set(projectId, true);
    const refused = { lastRefusedAt: () => 'now()', refusedFor };
    await updateProject(app.database, { workspaceId, projectId }, refused);
    await app.jobs.send('workspace.health', { workspaceId }, { onceInSeconds: RECORD_EVERY_MS / 1_000 });
  };
}

const MAX_WEBHOOK_BYTES = 1024 * 1024;

const REFUSED: Readonly<Record<WebhookMismatch, string>> = {
  authorization: 'Wrong Authorization header',
  signature: 'Wrong or stale webhook signature',
};

/**
 * `POST /webhooks/revenuecat/:projectId`: 200 `{"status":"accepted"|"duplicate"}` after the commit. RevenueCat
 * repeats a webhook after any other response.
 */
export function revenueCatWebhookRouter(
  options: Pick<AppContext, 'database' | 'jobs' | 'secrets' | 'now'> & {
    journal: Journal;
    onReceived: (status: ReceiptStatus) => void;
  },
): Router {
  const { database, journal, secrets, now } = options;
  const recordRefusal = createRefusalRecorder(options);
  /** Webhooks of one project that arrive together share a read, which begins after they arrived. */
  const readTarget = createBatcher({ maxItems: 250 }, async (projectId, callers: readonly null[]) => {
    const target = await readWebhookTarget(database, projectId);
    return callers.map(() => target);
  });

  async function findTarget(req: Request): Promise<WebhookTarget> {
    const target = await readTarget(String(req.params.projectId), null);
    if (!target) throw notFound('No such RevenueCat project is connected here');
    return target;
  }

  async function refuse(target: WebhookTarget, mismatch: WebhookMismatch): Promise<never> {
    await recordRefusal(target, mismatch);
    throw unauthorized(REFUSED[mismatch]);
  }

  const receive: RequestHandler = async (req, res) => {
    const target = await findTarget(req);
    const status = await journal.append(target, await verify(req as RawRequest, target));
    options.onReceived(status);
    // What `res.json` would send, without its serializer lookup, its ETag and its copy of the body.
    const response = `{"status":"${status}"}`;
    res.writeHead(200, {
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': response.length,
    });
    res.end(response);
  };

  async function verify(req: RawRequest, target: WebhookTarget): Promise<CheckedWebhook> {
    const { rawBody: body } = req;
    const { workspaceId, projectId, signingSecret: encrypted } = target;
    const location = secretLocation.signingSecret(workspaceId, projectId);
    const mismatch = authenticateWebhook({
      target,
      signingSecret: encrypted && secrets.decrypt(encrypted, location),
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
      const target = await findTarget(req);
      if (!isAuthorized(target, req.get('authorization'))) await refuse(target, 'authorization');
    }
    next();
  };

  const router = createRouter();
  router.post('/:projectId', checkKey, rawBody(MAX_WEBHOOK_BYTES), receive);
  return router;
}

/** Older signatures are refused: RevenueCat signs each attempt (webhook documentation, "HMAC signing"). */
const SIGNATURE_TOLERANCE_S = 300;

/**
 * Verifies `X-RevenueCat-Webhook-Signature: t=<unix s>,v1=<hex>`, where v1 is
 * HMAC-SHA256(secret, "<t>.<raw body>"). Accepts several `v1`, since a rotation may send them (UNVERIFIED).
 * RevenueCat's Android guide names the header `X-RevenueCat-Signature` (CONFLICT), which is not read.
 */
export function verifyWebhookSignature(
  secret: string,
  rawBody: Buffer,
  header: string | undefined,
  nowMs: number,
): boolean {
  if (header === undefined) return false;
  let timestamp = '';
  const signatures: string[] = [];
  for (const part of header.split(',')) {
    const [name = '', value = ''] = part.trim().split('=', 2);
    if (name === 't') timestamp = value;
    if (name === 'v1') signatures.push(value);
  }
  // A timestamp that is not a number fails this comparison, too.
  if (!(Math.abs(nowMs / 1_000 - Number(timestamp)) <= SIGNATURE_TOLERANCE_S)) return false;
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(rawBody).digest('hex');
  return signatures.some((given) => equalInConstantTime(given.toLowerCase(), expected));
}

/**
 * @param signingSecret decrypted; `null` when the project has none
 * @returns what does not match; `null`: the request comes from the project's webhook
 */
export function authenticateWebhook(input: {
  target: Pick<WebhookTarget, 'webhookAuthHash'>;
  signingSecret: string | null;
  authorization: string | undefined;
  signature: string | undefined;
  rawBody: Buffer;
  nowMs: number;
}): WebhookMismatch | null {
  const hasKey = isAuthorized(input.target, input.authorization);
  const isSigned =
    input.signingSecret === null ||
    verifyWebhookSignature(input.signingSecret, input.rawBody, input.signature, input.nowMs);
  // Both are checked before the response, so that its time does not reveal which one failed.
  if (!hasKey) return 'authorization';
  return isSigned ? null : 'signature';
}

function isAuthorized(
  { webhookAuthHash }: Pick<WebhookTarget, 'webhookAuthHash'>,
  authorization: string | undefined,
): boolean {
  return equalInConstantTime(hashSecret(authorization ?? ''), webhookAuthHash);
}

/** RevenueCat's events have five levels. */
const MAX_NESTING = 500;

/** @throws AppError with status 400 when the body is not JSON or holds no event */
export function checkWebhook(rawBody: Buffer): CheckedWebhook {
  const payload = rawBody.toString('utf8');
  let body: unknown;
  try {
    body = JSON.parse(payload);
  } catch {
    throw new AppError('invalid_json', 'The body is not JSON');
  }
  const event = isRecord(body) ? body.event : undefined;
  if (!isRecord(event)) throw badRequest('The body has no "event" object');
  if (countBrackets(payload) > MAX_NESTING && isDeeperThan(MAX_NESTING, body))
    throw badRequest('The body is nested too deeply');
  if (keyText(event.type) === null && namesNoCustomer(event))
    throw badRequest('The event has neither a type nor an app user ID');
  return { eventId: eventIdOf(event), payload };
}

function namesNoCustomer(event: unknown): boolean {
  const { customer, source } = identifiersOf(event);
  return customer.length + source.length === 0;
}

/** An upper bound of the nesting depth, found in a sixth of the time. */
function countBrackets(json: string): number {
  let count = 0;
  for (const bracket of ['{', '['])
    for (let at = json.indexOf(bracket); at >= 0; at = json.indexOf(bracket, at + 1)) count += 1;
  return count;
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  for (const name in value)
    if (isDeeperThan(levels - 1, (value as Record<string, unknown>)[name])) return true;
  return false;
}
