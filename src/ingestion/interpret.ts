import { createHash } from 'node:crypto';
import { AppError, badRequest } from '../errors.ts';
import { withoutValues } from '../logger.ts';
import { fitsKey } from '../subscription/identities.ts';
import { identifiersOf, readEvent } from '../subscription/read-event.ts';
import type { LifecycleEvent } from '../subscription/types.ts';
import { isRecord, stripNul } from '../text.ts';

type EventBody = Readonly<Record<string, unknown>>;

/** A webhook that was checked: an event, whatever it may say. */
export interface CheckedWebhook {
  readonly eventId: string;
  /** The body as it arrived. */
  readonly payload: string;
}

/** An event with the customers it concerns. */
export interface InterpretedEvent {
  readonly event: LifecycleEvent;
  /** App user ids of the customer it is about, best first; empty: it names no customer. */
  readonly customer: readonly string[];
  /** App user ids of the customer whose purchases it took away (TRANSFER). */
  readonly source: readonly string[];
  /** The customer was erased, its source was not: nothing is stored for the customer. */
  readonly isCustomerErased?: true;
  readonly email: { readonly value: string; readonly atMs: number } | null;
  readonly receivedAtMs: number;
  /** JSON of what is stored with the event for good. */
  readonly fields: string;
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
    throw new AppError('invalid_json', 'The body is not JSON', { status: 400 });
  }
  const event = isRecord(body) ? body.event : undefined;
  if (!isRecord(event)) throw badRequest('The body has no "event" object');
  if (countBrackets(payload) > MAX_NESTING && isDeeperThan(MAX_NESTING, body))
    throw badRequest('The body is nested too deeply');
  if (keyText(event.type) === null && namesNoCustomer(event))
    throw badRequest('The event has neither a type nor an app user ID');
  return { eventId: eventIdOf(event), payload };
}

/** What the interpreter made of stored webhooks. */
export interface Interpretation {
  readonly events: readonly InterpretedEvent[];
  /** By event id, of those that it could not handle. */
  readonly errors: ReadonlyMap<string, string>;
}

export function interpretWebhooks(
  webhooks: readonly (CheckedWebhook & { readonly receivedAtMs: number })[],
): Interpretation {
  const errors = new Map<string, string>();
  const events = webhooks.flatMap((webhook) => {
    try {
      return [interpretPayload(webhook, webhook.receivedAtMs)];
    } catch (error) {
      errors.set(webhook.eventId, describeFailure(error));
      return [];
    }
  });
  return { events, errors };
}

/** What is stored with a webhook that could not be interpreted: nothing of the customer. */
export function describeFailure(error: unknown): string {
  return withoutValues(error instanceof Error ? error.message : String(error)).slice(0, 500);
}

function interpretPayload(webhook: CheckedWebhook, receivedAtMs: number): InterpretedEvent {
  const body: unknown = JSON.parse(webhook.payload);
  const event = isRecord(body) ? body.event : undefined;
  if (!isRecord(event)) throw new Error('The payload has no "event" object');
  return interpret(event, webhook.eventId, receivedAtMs);
}

/** Interprets an event that did not come as a webhook, but from RevenueCat's API. */
export function interpretEvent(event: EventBody, receivedAtMs: number): InterpretedEvent {
  return interpret(event, eventIdOf(event), receivedAtMs);
}

function interpret(body: EventBody, eventId: string, receivedAtMs: number): InterpretedEvent {
  const read = readEvent(body, { receivedAtMs, fallbackId: eventId });
  const event = {
    ...read,
    id: eventId,
    type: stripNul(read.type),
    transactionId: read.transactionId === null ? null : stripNul(read.transactionId),
  };
  const { customer, source } = identifiersOf(body);
  return { event, customer, source, email: emailOf(body), receivedAtMs, fields: fieldsOf(body) };
}

/**
 * What is stored of an event for good, so that pruning the journal changes neither state nor card: all but the
 * customer attributes, which nothing reads from an event later, and fields without a value.
 */
function fieldsOf(body: EventBody): string {
  const kept: Record<string, unknown> = {};
  for (const name in body) {
    if (body[name] !== null && name !== 'subscriber_attributes') kept[name] = body[name];
  }
  const fields = JSON.stringify(kept);
  // json would store an escaped NUL or half a surrogate pair, but every `->>` on it would fail.
  if (!/\\u(?:0000|d[89a-f])/i.test(fields)) return fields;
  return JSON.stringify(kept, (_key, value: unknown) =>
    typeof value === 'string' ? stripNul(value).toWellFormed() : value,
  );
}

function namesNoCustomer(event: EventBody): boolean {
  const { customer, source } = identifiersOf(event);
  return customer.length + source.length === 0;
}

function eventIdOf(event: EventBody): string {
  return keyText(event.id) ?? keyText(event.event_id) ?? contentId(event);
}

/** A text that can be part of a key; anything else counts as absent. */
function keyText(value: unknown): string | null {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !fitsKey(text)) return null;
  return stripNul(text).toWellFormed() || null;
}

/** An event without an id gets a hash of its content, so that a repeat is recognized as a duplicate. */
function contentId(event: EventBody): string {
  return `sha256:${createHash('sha256').update(canonical(event)).digest('hex')}`;
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
  for (const name in value) if (isDeeperThan(levels - 1, (value as EventBody)[name])) return true;
  return false;
}

function emailOf(event: EventBody): InterpretedEvent['email'] {
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
