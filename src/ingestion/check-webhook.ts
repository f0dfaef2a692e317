import { createHmac, timingSafeEqual } from 'node:crypto';
import { AppError, badRequest } from '../errors.ts';
import { eventIdOf, identifiersOf, keyText } from '../subscription/read-event.ts';
import { equalInConstantTime, isRecord } from '../text.ts';
import type { RefusedFor, WebhookTarget } from '../workspaces/projects.ts';
import { hashSecret } from '../workspaces/secrets.ts';
import type { CheckedWebhook } from './journal.ts';

/** Older signatures are refused: RevenueCat signs each attempt (webhook documentation, "HMAC signing"). */
const SIGNATURE_TOLERANCE_S = 300;

/**
 * Verifies `X-RevenueCat-Webhook-Signature: t=<unix s>,v1=<hex>`, where v1 is
 * HMAC-SHA256(secret, "<t>.<raw body>"). Several `v1` are accepted, as a rotation may send (UNVERIFIED).
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
  if (!/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(nowMs / 1_000 - Number(timestamp)) > SIGNATURE_TOLERANCE_S) return false;
  const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(rawBody).digest();
  return signatures.some(
    (given) => /^[0-9a-f]{64}$/i.test(given) && timingSafeEqual(expected, Buffer.from(given, 'hex')),
  );
}

/**
 * @param signingSecret decrypted; `null` when the project has none
 * @returns what does not match, when the request does not come from the project's webhook; else `null`
 */
export function authenticateWebhook(input: {
  target: Pick<WebhookTarget, 'webhookAuthHash'>;
  signingSecret: string | null;
  authorization: string | undefined;
  signature: string | undefined;
  rawBody: Buffer;
  nowMs: number;
}): RefusedFor | null {
  const hasKey = isAuthorized(input.target, input.authorization);
  const isSigned =
    input.signingSecret === null ||
    verifyWebhookSignature(input.signingSecret, input.rawBody, input.signature, input.nowMs);
  // Both are checked before the response, so that its time does not reveal which one failed.
  return hasKey ? (isSigned ? null : 'signature') : 'authorization';
}

export function isAuthorized(
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

/** At least its depth, and much cheaper to find. */
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
