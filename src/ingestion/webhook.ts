import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { AppError, badRequest } from '../errors.ts';
import { identifiersOf, readEvent } from '../subscription/read-event.ts';
import type { LifecycleEvent } from '../subscription/types.ts';
import { equalInConstantTime, isRecord, stripNul } from '../text.ts';
import { hashSecret } from '../workspaces/secrets.ts';
import type { WebhookTarget } from './webhook-target.ts';

/** A webhook as it is stored: read, classified, with the customers it speaks of. */
export interface ReceivedEvent {
  readonly event: LifecycleEvent;
  /** App user ids of the customer it is about, best first; empty: it names nobody. */
  readonly customer: readonly string[];
  /** App user ids of the customer whose purchases it took away (TRANSFER). */
  readonly source: readonly string[];
  readonly email: { readonly value: string; readonly atMs: number } | null;
  /** The body as it arrived. */
  readonly payload: string;
}

/** Older signatures are refused: RevenueCat signs every attempt anew (webhook documentation, "HMAC signing"). */
const SIGNATURE_TOLERANCE_S = 300;

/**
 * Checks `X-RevenueCat-Webhook-Signature: t=<unix s>,v1=<hex>`, where v1 is
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
 * @param signingSecret opened; `null` when the project has none
 * @returns what does not match, when the request does not come from the project's webhook; else `null`
 */
export function authenticateWebhook(input: {
  target: Pick<WebhookTarget, 'webhookAuthHash'>;
  signingSecret: string | null;
  authorization: string | undefined;
  signature: string | undefined;
  rawBody: Buffer;
  nowMs: number;
}): 'authorization' | 'signature' | null {
  const given = hashSecret(input.authorization ?? '');
  const authorized = equalInConstantTime(given, input.target.webhookAuthHash);
  const signed =
    input.signingSecret === null ||
    verifyWebhookSignature(input.signingSecret, input.rawBody, input.signature, input.nowMs);
  // Both are checked before answering, so that the answer's time tells nothing of which one failed.
  return authorized ? (signed ? null : 'signature') : 'authorization';
}

/** PostgreSQL reads some 6,000 levels of JSON, and RevenueCat's events have five. */
const MAX_NESTING = 500;

/**
 * Reads a webhook's body. Whatever the event's type and fields, it is taken: only what is no JSON object with
 * an `event` object, or is nested beyond reading, is refused.
 */
export function readWebhook(rawBody: Buffer, receivedAtMs: number): ReceivedEvent {
  const text = rawBody.toString('utf8');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new AppError('invalid_json', 'The body is not JSON', { status: 400 });
  }
  const event = isRecord(body) ? body.event : undefined;
  if (!isRecord(event)) throw badRequest('The body has no "event" object');
  if (isDeeperThan(MAX_NESTING, body)) throw badRequest('The body is nested too deeply');
  return toReceived(event, text, receivedAtMs);
}

/** Also for events that were read from the API: `payload` then is the envelope made for them. */
export function toReceived(
  event: Readonly<Record<string, unknown>>,
  payload: string,
  receivedAtMs: number,
): ReceivedEvent {
  const named = readEvent(event, { receivedAtMs, fallbackId: '' });
  // Only few events come without an id, and the hash of a body costs more than all the rest of reading it.
  const read = named.id === '' ? { ...named, id: contentId(event) } : named;
  const { customer, source } = identifiersOf(event);
  // PostgreSQL's json type refuses no escape, but its text cannot hold NUL: an escaped one stays escaped.
  const stored = {
    ...read,
    id: stripNul(read.id) || contentId(event),
    type: stripNul(read.type),
    transactionId: read.transactionId === null ? null : stripNul(read.transactionId),
  };
  return { event: stored, customer, source, email: emailOf(event), payload: stripNul(payload) };
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  return Object.values(value).some((inner) => isDeeperThan(levels - 1, inner));
}

function contentId(event: Readonly<Record<string, unknown>>): string {
  return `sha256:${createHash('sha256').update(canonical(event)).digest('hex')}`;
}

function emailOf(event: Readonly<Record<string, unknown>>): ReceivedEvent['email'] {
  const attributes = event.subscriber_attributes;
  if (!isRecord(attributes)) return null;
  const entry = attributes.$email;
  // Paywall events carry attributes flat.
  const value = isRecord(entry) ? entry.value : entry;
  if (typeof value !== 'string' || !value.includes('@') || value.length > 320) return null;
  const at = isRecord(entry) ? Number(entry.updated_at_ms) : 0;
  return {
    value: stripNul(value).toWellFormed().trim().toLowerCase(),
    atMs: Number.isSafeInteger(at) ? at : 0,
  };
}

/** The same content gives the same text, whatever the order of its keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (isRecord(value)) {
    const parts = Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
    return `{${parts.join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
