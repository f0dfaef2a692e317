import type { Database, Sql } from '../database/sql.ts';
import { lockSubscribers, takeIds } from '../subscribers/identity-store.ts';
import {
  columnsOf,
  type EventBatch,
  type EventRecord,
  type ReceiptStatus,
  type Written,
} from './event-batch.ts';

/**
 * Writes a batch as the one statement of store.ts does, in a transaction of several: Citus takes no INSERT inside a
 * WITH. Subscribers, ids and events are locked in the same order as there, and each statement is bound to the
 * workspace, so that the transaction stays on one node.
 */
export async function writeInParts(database: Database, batch: EventBatch): Promise<Written> {
  const { workspaceId, projectId } = batch;
  return database.transaction(async (sql) => {
    const known = await lockSubscribers(sql, workspaceId, batch.known);
    const ids = batch.ids.filter((entry) => entry.isNew || known.has(entry.subscriberId));
    const owners = await takeIds(sql, workspaceId, projectId, ids);
    await createSubscribers(sql, batch);
    const placed = placedOf(batch, known, owners);
    const written = await insertEvents(sql, batch, placed);
    await touchSubscribers(
      sql,
      batch,
      placed.filter((record) => !record.isNew && written.has(keyOf(record))),
    );
    if (!batch.isHistory) await markReceived(sql, batch);
    if (written.size > 0) await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
    const accepted = new Set([...written.values()]);
    return {
      stored: new Map(
        placed
          .filter((record) => record.side === 'customer')
          .map(({ id }): [string, ReceiptStatus] => [id, accepted.has(id) ? 'accepted' : 'duplicate']),
      ),
      contested: batch.ids.some(({ id, subscriberId }) => (owners.get(id) ?? subscriberId) !== subscriberId),
    };
  });
}

/** What the records of one subscriber say of it. */
interface Told {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly email: string | null;
  readonly emailMs: number;
}

function toldOf(records: readonly EventRecord[]): [subscriberId: string, Told][] {
  return [...Map.groupBy(records, (record) => record.subscriberId)].map(([subscriberId, own]) => {
    const moments = own.map((record) => record.received.event.atMs);
    const email = own
      .flatMap((record) => record.received.email ?? [])
      .reduce<EventRecord['received']['email']>(
        (newest, each) => (newest && newest.atMs >= each.atMs ? newest : each),
        null,
      );
    return [
      subscriberId,
      {
        firstMs: Math.min(...moments),
        lastMs: Math.max(...moments),
        email: email?.value ?? null,
        emailMs: email?.atMs ?? 0,
      },
    ];
  });
}

function toldValues(told: readonly [string, Told][]): unknown[] {
  return [
    told.map(([subscriberId]) => subscriberId),
    told.map(([, { firstMs }]) => firstMs),
    told.map(([, { lastMs }]) => lastMs),
    told.map(([, { email }]) => email),
    told.map(([, { emailMs }]) => emailMs),
  ];
}

async function createSubscribers(sql: Sql, batch: EventBatch): Promise<void> {
  const told = toldOf(batch.records.filter((record) => record.isNew));
  if (told.length === 0) return;
  await sql.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                              first_event_at_ms, last_event_at_ms)
     select $1, $2, subscriber_id, now(), 1, email, email_at_ms, first_at, last_at
       from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
            as t (subscriber_id, first_at, last_at, email, email_at_ms)`,
    [batch.workspaceId, batch.projectId, ...toldValues(told)],
    'create-subscribers',
  );
}

/** Records whose subscriber has not changed, of events of which that is true of all. */
function placedOf(
  batch: EventBatch,
  known: ReadonlyMap<string, unknown>,
  owners: ReadonlyMap<string, string>,
): EventRecord[] {
  const own = batch.records.filter(
    ({ subscriberId, isNew, appUserId }) =>
      known.has(subscriberId) || (isNew && (appUserId === null || owners.get(appUserId) === subscriberId)),
  );
  const sides = new Map<string, number>();
  for (const { id } of own) sides.set(id, (sides.get(id) ?? 0) + 1);
  return own.filter((record) => sides.get(record.id) === record.sides);
}

function keyOf(record: { readonly id: string; readonly side: string }): string {
  return `${record.side} ${record.id}`;
}

/** @returns the ids of the events of the rows that were not there, by row */
async function insertEvents(
  sql: Sql,
  batch: EventBatch,
  records: readonly EventRecord[],
): Promise<Map<string, string>> {
  if (records.length === 0) return new Map();
  const rows = await sql.query<{ event_id: string; side: string }>(
    `insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment,
                         event_at_ms, transaction_id, payload, skip_reason)
     select $1, $2, event_id, side, subscriber_id, type, kind, environment, event_at_ms, transaction_id, payload::json,
            skip_reason
       from unnest($3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
                   string_to_array($11, E'\\x1e'), $12::text[])
            as t (event_id, side, subscriber_id, type, kind, environment, event_at_ms, transaction_id, payload,
                  skip_reason)
      order by event_id, side
     on conflict (workspace_id, project_id, event_id, side) do nothing
     returning event_id, side`,
    [
      batch.workspaceId,
      batch.projectId,
      records.map((record) => record.id),
      records.map((record) => record.side),
      ...columnsOf(records),
    ],
    'insert-events',
  );
  return new Map(rows.map((row) => [keyOf({ id: row.event_id, side: row.side }), row.event_id]));
}

async function touchSubscribers(sql: Sql, batch: EventBatch, records: readonly EventRecord[]): Promise<void> {
  const told = toldOf(records);
  if (told.length === 0) return;
  await sql.query(
    `update subscribers s
        set due_at = least(s.due_at, now()),
            version = s.version + 1,
            waiting = false,
            first_event_at_ms = least(s.first_event_at_ms, n.first_at),
            last_event_at_ms = greatest(s.last_event_at_ms, n.last_at),
            email = case when n.email is not null and n.email_at_ms >= s.email_at_ms then n.email else s.email end,
            email_at_ms = greatest(s.email_at_ms, n.email_at_ms)
       from unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
            as n (subscriber_id, first_at, last_at, email, email_at_ms)
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.subscriber_id = n.subscriber_id`,
    [batch.workspaceId, ...toldValues(told)],
    'touch-subscribers',
  );
}

/** Often enough for the settings page and the health check to tell that webhooks arrive. */
async function markReceived(sql: Sql, batch: EventBatch): Promise<void> {
  await sql.query(
    `update projects set last_received_at = now()
      where workspace_id = $1 and project_id = $2
        and (last_received_at is null or last_received_at < now() - interval '5 seconds')`,
    [batch.workspaceId, batch.projectId],
    'mark-received',
  );
}
