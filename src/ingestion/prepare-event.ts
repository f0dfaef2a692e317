import {
  type ErasureContext,
  fieldsWithout,
  findErasedIds,
  withoutErased,
} from '../subscribers/erased-ids.ts';
import { toEmail } from '../subscription/app-user-ids.ts';
import {
  eventIdOf,
  type Identifiers,
  identifiersOf,
  type LifecycleEvent,
  readEvent,
} from '../subscription/read-event.ts';
import { isRecord, toStorableJson } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';

type EventBody = Readonly<Record<string, unknown>>;

/** An event with the customers it concerns, ready to be stored. */
export interface PreparedEvent extends Identifiers {
  readonly event: LifecycleEvent;
  /** The customer was erased but the source was not: nothing is stored for the customer. */
  readonly isCustomerErased?: true;
  readonly email: { readonly value: string; readonly atMs: number } | null;
  readonly receivedAtMs: number;
  /** JSON of the fields that are stored permanently. */
  readonly fields: string;
}

/**
 * Prepares an event: the `event` object of a webhook, or an item of RevenueCat's API.
 *
 * @param eventId under which it is stored
 */
export function prepareEvent(
  body: EventBody,
  receivedAtMs: number,
  eventId = eventIdOf(body),
): PreparedEvent {
  const event = { ...readEvent(body, { receivedAtMs, fallbackId: eventId }), id: eventId };
  const { customer, source } = identifiersOf(body);
  return { event, customer, source, email: emailOf(body), receivedAtMs, fields: fieldsOf(body) };
}

/**
 * The fields of an event that are stored permanently, so that pruning the journal changes neither state nor card. Left
 * out are the customer attributes, which nothing reads from an event later, and fields without a value.
 */
function fieldsOf(body: EventBody): string {
  const stored: Record<string, unknown> = {};
  for (const name in body) {
    if (body[name] !== null && name !== 'subscriber_attributes') stored[name] = body[name];
  }
  return toStorableJson(stored);
}

function emailOf({ subscriber_attributes: attributes }: EventBody): PreparedEvent['email'] {
  const entry = isRecord(attributes) ? attributes.$email : null;
  // Paywall events have flat attributes.
  const value = toEmail(isRecord(entry) ? entry.value : entry);
  const atMs = isRecord(entry) ? Number(entry.updated_at_ms) : 0;
  return value === null ? null : { value, atMs: Number.isSafeInteger(atMs) ? atMs : 0 };
}

/**
 * Takes erased customers out of events, but keeps what other customers need: a transfer from or to an erased one.
 *
 * @returns the events to store, and the ids of all events that named an erased customer
 */
export async function dropErased(
  context: ErasureContext,
  project: ProjectKey,
  events: readonly PreparedEvent[],
): Promise<{ remaining: PreparedEvent[]; erasedEvents: Set<string> }> {
  const idsOf = ({ customer, source }: PreparedEvent): string[] => [...customer, ...source];
  const erased = await findErasedIds(context, project, events.flatMap(idsOf));
  const erasedEvents = new Set<string>();
  const remaining = events.flatMap((prepared): PreparedEvent[] => {
    const ids = idsOf(prepared);
    if (!ids.some((id) => erased.has(id))) return [prepared];
    erasedEvents.add(prepared.event.id);
    const customer = withoutErased(prepared.customer, erased);
    const source = withoutErased(prepared.source, erased);
    if (customer.length + source.length === 0) return [];
    const gone = new Set(ids).difference(new Set([...customer, ...source]));
    const fields = JSON.stringify(fieldsWithout(JSON.parse(prepared.fields), gone));
    const others = { ...prepared, customer, source, fields, email: null };
    return [customer.length === 0 ? { ...others, isCustomerErased: true } : others];
  });
  return { remaining, erasedEvents };
}
