import { type Database, listsOf, notifyDelivery, type Sql } from '../database/sql.ts';
import {
  type ErasureContext,
  fieldsWithout,
  findErasedIds,
  withoutErased,
} from '../subscribers/erased-ids.ts';
import {
  type IdentityGroup,
  insertNewIds,
  lockProject,
  newIdentityGroup,
  resolveIdentities,
} from '../subscribers/identity.ts';
import { KEEP_LAST_EMAIL } from '../subscribers/repository.ts';
import { fitsKey, toEmail } from '../subscription/app-user-ids.ts';
import { isDeliverable } from '../subscription/kinds.ts';
import {
  eventIdOf,
  type Identifiers,
  identifiersOf,
  type LifecycleEvent,
  readEvent,
} from '../subscription/read-event.ts';
import { compareTexts, isRecord, JSON_SEPARATOR, toStorableJson } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import type { SecretBox } from '../workspaces/secrets.ts';

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
  // An index holds it, and cannot hold one longer than any store's.
  if (!fitsKey(JSON.stringify(body.original_transaction_id ?? ''))) delete stored.original_transaction_id;
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

/** Whether an event of a deliverable kind is sent to the contact; otherwise it is on the timeline only. */
type DeliveryRule = (event: PreparedEvent) => boolean;

/** One row: an event as it concerns one customer. */
export interface EventRecord {
  readonly id: string;
  readonly side: 'customer' | 'source';
  readonly group: IdentityGroup;
  readonly prepared: PreparedEvent;
  /** Why it is never sent to Intercom; `null`: it is delivered. */
  readonly skipReason: 'timeline_only' | 'imported' | null;
}

/**
 * Stores events of one project in a transaction of their own.
 *
 * @param options.secrets leaves out erased customers
 * @returns number of events that were new
 */
export function storeEvents(
  database: Database,
  project: ProjectKey,
  events: readonly PreparedEvent[],
  { shouldDeliver, secrets }: { shouldDeliver?: DeliveryRule; secrets?: SecretBox } = {},
): Promise<number> {
  return database.transaction(async (sql) => {
    await lockProject(sql, project);
    const remaining = secrets ? (await dropErased({ sql, secrets }, project, events)).remaining : events;
    const added = await storeEventsIn(sql, project, remaining, shouldDeliver);
    if (added > 0) await notifyDelivery(sql, project.workspaceId);
    return added;
  });
}

/**
 * Stores events of one project: resolves and merges their subscribers, inserts the events that are not stored yet,
 * and marks the subscribers of these as pending delivery. The caller wakes delivery.
 *
 * @param sql a transaction that holds the project's lock
 * @returns number of events that were new, or known only from an import
 */
export async function storeEventsIn(
  sql: Sql,
  project: ProjectKey,
  events: readonly PreparedEvent[],
  shouldDeliver: DeliveryRule = () => true,
): Promise<number> {
  // When a batch holds an event twice, only the first one counts, including its app user ids.
  const first = new Map<string, PreparedEvent>();
  for (const event of events) if (!first.has(event.event.id)) first.set(event.event.id, event);
  const records = await resolveRecords(sql, project, [...first.values()], shouldDeliver);
  const groups = records.map(({ group }) => group);
  const storing = [insertEvents(sql, project, records), insertNewIds(sql, project, groups)] as const;
  const [inserted] = await Promise.all(storing);
  const changed = records.filter((record) => record.group.isNew || inserted.has(recordKey(record)));
  await upsertSubscribers(sql, project, changed);
  return [...first.keys()].filter((id) => inserted.has(recordKey({ id, side: 'customer' }))).length;
}

export function recordKey({ id, side }: { readonly id: string; readonly side: string }): string {
  return `${side} ${id}`;
}

/** The rows of some events, with the subscriber of each. */
export async function resolveRecords(
  sql: Sql,
  project: ProjectKey,
  events: readonly PreparedEvent[],
  shouldDeliver: DeliveryRule,
): Promise<EventRecord[]> {
  const idLists = events.flatMap(({ customer, source }) => [customer, source]);
  const groups = await resolveIdentities(sql, project, idLists);
  return events.flatMap((prepared) => {
    const groupOf = ([appUserId]: readonly string[]) =>
      appUserId === undefined ? undefined : groups.get(appUserId);
    // An event that names no customer gets a subscriber of its own, where a search for the event finds it.
    const customer = toRecord(prepared, 'customer', groupOf(prepared.customer) ?? newIdentityGroup());
    const source = groupOf(prepared.source);
    if (prepared.isCustomerErased && source) return [toRecord(prepared, 'source', source)];
    return source ? [customer, toRecord(prepared, 'source', source)] : [customer];
  });

  function toRecord(prepared: PreparedEvent, side: EventRecord['side'], group: IdentityGroup): EventRecord {
    // The transfer itself is recorded on the contact that received the purchases; the source's attributes follow.
    const canBeDelivered = side === 'customer' && isDeliverable(prepared.event.kind);
    const skipReason = shouldDeliver(prepared) ? null : 'imported';
    const { id } = prepared.event;
    return { id, side, group, prepared, skipReason: canBeDelivered ? skipReason : 'timeline_only' };
  }
}

/**
 * An import can store an event before its webhook arrives. The event of the webhook is then delivered like any other.
 *
 * @returns keys of the rows that were not stored yet, or only by an import
 */
export async function insertEvents(
  sql: Sql,
  project: ProjectKey,
  records: readonly EventRecord[],
): Promise<Set<string>> {
  if (records.length === 0) return new Set();
  const events = records.map(({ prepared }) => prepared.event);
  const rows = await sql.query<{ event_id: string; side: string }>(
    `insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment,
                         event_at_ms, received_at, transaction_id, fields, skip_reason)
     select $1, $2, event_id, side, subscriber_id, type, kind, environment, event_at_ms,
            to_timestamp(received_at_ms / 1000), transaction_id, fields::json, skip_reason
       from unnest($3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::text[],
                   $10::bigint[], $11::text[], $12::float8[], string_to_array($13, E'\\x1e'))
            as t (event_id, side, skip_reason, subscriber_id, type, kind, environment, event_at_ms, transaction_id,
                  received_at_ms, fields)
     on conflict (workspace_id, project_id, event_id, side) do update set skip_reason = null
        where events.skip_reason = 'imported' and excluded.skip_reason is null
     returning event_id, side`,
    [
      project.workspaceId,
      project.projectId,
      ...listsOf(records, 'id', 'side', 'skipReason'),
      records.map(({ group }) => group.subscriberId),
      ...listsOf(events, 'type', 'kind', 'environment', 'atMs', 'transactionId'),
      records.map(({ prepared }) => prepared.receivedAtMs),
      records.map(({ prepared }) => prepared.fields).join(JSON_SEPARATOR),
    ],
    'insert-events',
  );
  return new Set(rows.map((row) => recordKey({ id: row.event_id, side: row.side })));
}

/** Creates the subscribers of records, or marks those that exist as pending delivery. */
export async function upsertSubscribers(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  records: readonly EventRecord[],
): Promise<void> {
  if (records.length === 0) return;
  const entries = [...Map.groupBy(records, ({ group }) => group.subscriberId)]
    .map(([subscriberId, ofSubscriber]) => ({ subscriberId, ...subscriberValues(ofSubscriber) }))
    // Sorted: rows are locked by id, as in every statement that writes several. In other orders, two could deadlock.
    .sort((a, b) => compareTexts(a.subscriberId, b.subscriberId));
  await sql.query(
    `insert into subscribers as s (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                                   first_event_at_ms, last_event_at_ms)
     select $1, $2, subscriber_id, now(), 1, email, email_at_ms, first_event_at_ms, last_event_at_ms
       from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
            as t (subscriber_id, first_event_at_ms, last_event_at_ms, email, email_at_ms)
     on conflict (workspace_id, subscriber_id) do update
        set due_at = least(s.due_at, excluded.due_at),
            version = s.version + 1,
            first_event_at_ms = least(s.first_event_at_ms, excluded.first_event_at_ms),
            last_event_at_ms = greatest(s.last_event_at_ms, excluded.last_event_at_ms),
            ${KEEP_LAST_EMAIL}`,
    [workspaceId, projectId, ...listsOf(entries, 'subscriberId', 'firstMs', 'lastMs', 'email', 'emailAtMs')],
    'upsert-subscribers',
  );
}

function subscriberValues(records: readonly EventRecord[]) {
  const times = records.map(({ prepared }) => prepared.event.atMs);
  const emails = records.flatMap(({ prepared }) => prepared.email ?? []);
  const { value: email = null, atMs: emailAtMs = 0 } = emails.toSorted((a, b) => b.atMs - a.atMs)[0] ?? {};
  return { firstMs: Math.min(...times), lastMs: Math.max(...times), email, emailAtMs };
}
