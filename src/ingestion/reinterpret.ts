import type { Database, Sql } from '../database/sql.ts';
import { insertNewIds, lockProject } from '../subscribers/identity.ts';
import { markPending } from '../subscribers/repository.ts';
import { EVENTS_WITH_DELIVERY } from '../subscribers/stored-events.ts';
import type { LifecycleEvent } from '../subscription/read-event.ts';
import { DAY_MS } from '../time.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { markProcessed, pruneErased, readJournal } from './journal.ts';
import { interpretWebhooks } from './processor.ts';
import {
  dropErased,
  type EventRecord,
  insertEvents,
  type PreparedEvent,
  recordKey,
  resolveRecords,
  upsertSubscribers,
} from './store-events.ts';

/** Events that only the new interpretation yields are sent to the contact when they are younger than this. */
export const SEND_WITHIN_DAYS = 3;

const BATCH = 250;

type Selection = Parameters<typeof readJournal>[2];

/**
 * Interprets the journals of projects again, after the interpreter was corrected. Correct rows stay as they are, and
 * nothing is sent twice: an event keeps its delivery. Only an event that was not deliverable before is sent, while it
 * is younger than `SEND_WITHIN_DAYS`.
 *
 * @returns numbers of webhooks by what the interpretation changed
 */
export async function reinterpret(
  database: Database,
  projects: readonly ProjectKey[],
  options: { secrets: SecretBox; sinceMs: number; nowMs: number },
) {
  const total = { unchanged: 0, corrected: 0, added: 0, failed: 0 };
  for (const project of projects) {
    for (let after: string | undefined = '0'; after !== undefined; ) {
      const selection: Selection = { after, sinceMs: options.sinceMs, limit: BATCH };
      const { last, ...counts } = await database.transaction((sql) =>
        reinterpretBatch(sql, project, { ...options, selection }),
      );
      for (const name of Object.keys(counts) as (keyof typeof counts)[]) total[name] += counts[name];
      after = last;
    }
  }
  return total;
}

async function reinterpretBatch(
  sql: Sql,
  project: ProjectKey,
  options: { secrets: SecretBox; nowMs: number; selection: Selection },
) {
  await lockProject(sql, project);
  const rows = await readJournal(sql, project, options.selection);
  const isYoung = (event: PreparedEvent): boolean =>
    event.receivedAtMs > options.nowMs - SEND_WITHIN_DAYS * DAY_MS;
  const { events: prepared, errors } = interpretWebhooks(rows);
  const context = { sql, secrets: options.secrets };
  const { remaining: events, erasedEvents } = await dropErased(context, project, prepared);
  await pruneErased(sql, project, erasedEvents);
  const stored = await readStored(sql, project, events);
  const rowOf = (record: EventRecord) => stored.get(recordKey(record));
  const resolved = await resolveRecords(sql, project, events, isYoung);
  const records = resolved.map((record) => keepCustomer(record, rowOf(record)));
  const added = records.filter((record) => !rowOf(record));
  const changed = records.flatMap((record) => {
    const row = rowOf(record);
    return row && isDifferent(row, record) ? [{ record, row }] : [];
  });
  const groups = records.map(({ group }) => group);
  await insertNewIds(sql, project, groups);
  const named = new Set(records.map(recordKey));
  const unnamedSources = [...stored].flatMap(([key, row]) =>
    row.side === 'source' && !named.has(key) ? [row] : [],
  );
  await deleteEvents(sql, project, [...changed.map(({ row }) => row), ...unnamedSources]);
  const toStore = [...added, ...changed.map(({ record, row }) => keepDelivery(record, row))];
  await insertEvents(sql, project, toStore);
  await upsertSubscribers(sql, project, toStore);
  const moved = changed.filter(
    ({ record, row }) => record.side === 'customer' && row.subscriber_id !== record.group.subscriberId,
  );
  await moveDeliveries(sql, project, moved);
  await markProcessed(sql, project, rows, errors);
  const addedIds = new Set(added.flatMap(({ side, id }) => (side === 'customer' ? [id] : [])));
  const changedIds = new Set([...changed.map(({ record }) => record.id), ...added.map(({ id }) => id)]);
  return {
    last: rows.length < BATCH ? undefined : rows.at(-1)?.sequence,
    unchanged: events.length - changedIds.size,
    /** Stored events that now have another kind, time, transaction or customer. */
    corrected: changedIds.difference(addedIds).size,
    /** Events that were not stored before: interpreting their webhook failed or was interrupted. */
    added: addedIds.size,
    failed: errors.size,
  };
}

/** The facts of an event that have columns of their own. */
const FACTS = ['type', 'kind', 'environment', 'atMs', 'transactionId'] as const;

interface StoredRow extends Pick<LifecycleEvent, (typeof FACTS)[number]> {
  event_id: string;
  side: EventRecord['side'];
  subscriber_id: string;
  fields: string;
  skip_reason: EventRecord['skipReason'];
  has_delivery: boolean;
}

async function readStored(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  events: readonly PreparedEvent[],
): Promise<Map<string, StoredRow>> {
  const rows = await sql.query<StoredRow>(
    `select e.event_id, e.side, e.subscriber_id, e.type, e.kind, e.environment, e.event_at_ms::float8 as "atMs",
            e.transaction_id as "transactionId", e.fields::text as fields, e.skip_reason,
            d.event_id is not null as has_delivery
       from ${EVENTS_WITH_DELIVERY}
      where e.workspace_id = $1 and e.project_id = $2 and e.event_id = any($3)`,
    [workspaceId, projectId, events.map(({ event }) => event.id)],
  );
  return new Map(rows.map((row) => [recordKey({ id: row.event_id, side: row.side }), row]));
}

/** An event that names no customer stays with the subscriber that was created for it. */
function keepCustomer(record: EventRecord, row: StoredRow | undefined): EventRecord {
  if (!row || record.prepared[record.side].length > 0) return record;
  return { ...record, group: { ...record.group, subscriberId: row.subscriber_id, isNew: false } };
}

function isDifferent(row: StoredRow, { group, prepared }: EventRecord): boolean {
  const { event, fields } = prepared;
  const isSame = row.subscriber_id === group.subscriberId && row.fields === fields;
  return !isSame || FACTS.some((fact) => row[fact] !== event[fact]);
}

/** Keeps what was sent or was decided by the workspace's settings; the rest follows the new interpretation. */
function keepDelivery(record: EventRecord, row: StoredRow): EventRecord {
  const isUnplanned = row.skip_reason === null && !row.has_delivery;
  const isDecidedAgain =
    row.skip_reason === 'timeline_only' || (isUnplanned && record.skipReason === 'timeline_only');
  return { ...record, skipReason: isDecidedAgain ? record.skipReason : row.skip_reason };
}

/** Deletes events that are stored differently, and transfer sources that the new interpretation does not name. */
async function deleteEvents(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  rows: readonly StoredRow[],
): Promise<void> {
  if (rows.length === 0) return;
  await sql.query(
    `delete from events
      where workspace_id = $1 and project_id = $2 and event_id = any($3)
        and (event_id, side) in (select * from unnest($3::text[], $4::text[]))`,
    [workspaceId, projectId, rows.map((row) => row.event_id), rows.map((row) => row.side)],
  );
  const subscriberIds = rows.map((row) => row.subscriber_id);
  await markPending(sql, workspaceId, subscriberIds);
}

/** Moves deliveries with their events, whose subscriber they belong to. */
async function moveDeliveries(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  moved: readonly { readonly record: EventRecord; readonly row: StoredRow }[],
): Promise<void> {
  if (moved.length === 0) return;
  await sql.query(
    `update event_deliveries d set subscriber_id = t.subscriber_id
       from unnest($3::text[], $4::uuid[]) as t (event_id, subscriber_id)
      where d.workspace_id = $1 and d.project_id = $2 and d.event_id = t.event_id and d.subscriber_id = any($5::uuid[])`,
    [
      workspaceId,
      projectId,
      moved.map(({ record }) => record.id),
      moved.map(({ record }) => record.group.subscriberId),
      moved.map(({ row }) => row.subscriber_id),
    ],
  );
}
