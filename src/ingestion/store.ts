import { againAfterDeadlock } from '../database/deadlock.ts';
import type { Database, Sql } from '../database/sql.ts';
import { findIdentityGroups, type IdentityGroup } from '../subscribers/identity-groups.ts';
import { mergeIdentityGroups } from '../subscribers/merge-store.ts';
import { writeInParts } from './batch-in-parts.ts';
import {
  columnsOf,
  type EventBatch,
  type HistoryRule,
  makeBatch,
  type ReceiptStatus,
  type Written,
} from './event-batch.ts';
import type { KnownIds } from './known-ids.ts';
import type { ReceivedEvent } from './webhook.ts';

/**
 * Events whose subscriber was merged away meanwhile are tried again with the new state of affairs. Of writers
 * that meet, one always gets through, so the rounds needed are bounded by their number.
 */
const MAX_ROUNDS = 50;

/**
 * Stores events of one project with their raw payload and queues their delivery, in one transaction.
 *
 * A batch costs two round trips, or one: one finds the subscribers that `known` does not know, one statement
 * writes everything.
 *
 * @param history for events that were read from the API: which of them go to the contact; the others stand on the
 *   timeline only
 * @returns for each event, in order, whether it was new
 */
export async function storeEvents(
  database: Database,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
  history: HistoryRule | null = null,
  known: KnownIds | null = null,
): Promise<ReceiptStatus[]> {
  // One event twice in a batch: the second is the duplicate, and nothing of it is written, not even its ids.
  const firsts = new Map<string, ReceivedEvent>();
  for (const event of events) if (!firsts.has(event.event.id)) firsts.set(event.event.id, event);
  const statuses = new Map<ReceivedEvent, ReceiptStatus>();
  let left: readonly ReceivedEvent[] = [...firsts.values()];
  for (let round = 0; left.length > 0; round += 1) {
    if (round === MAX_ROUNDS) throw new Error('Subscribers changed under every attempt to store events');
    // What did not hold in the first round is not believed in the next.
    if (round > 0 && known) forgetParties(known, projectId, left);
    let parties = await findParties(database, workspaceId, projectId, left, known);
    if (known && [...parties.values()].some((party) => party.mergeFrom.size > 0)) {
      // Two that are to become one must be the two that there are now.
      forgetParties(known, projectId, left);
      parties = await findParties(database, workspaceId, projectId, left);
    }
    await mergeIdentityGroups(database, workspaceId, parties);
    const batch = makeBatch(workspaceId, projectId, left, parties, history);
    // Batches with the same new ids and the same events may wait for each other.
    const { stored, contested } = await againAfterDeadlock(() => writeBatch(database, batch));
    if (contested) await mergeContested(database, workspaceId, projectId, left);
    else if (known) for (const [id, party] of parties) known.set(projectId, id, party.subscriberId);
    const retry: ReceivedEvent[] = [];
    for (const event of left) {
      const outcome = stored.get(event.event.id);
      if (outcome === undefined) retry.push(event);
      else statuses.set(event, outcome);
    }
    left = retry;
  }
  return events.map((event) => statuses.get(event) ?? 'duplicate');
}

/** Another process gave one of our ids to another subscriber meanwhile: the two are one. */
async function mergeContested(
  database: Database,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
): Promise<void> {
  await mergeIdentityGroups(
    database,
    workspaceId,
    await findParties(database, workspaceId, projectId, events),
  );
}

/** Groups the ids of a batch into customers (ids that stand together in an event are one customer's). */
async function findParties(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
  known: KnownIds | null = null,
): Promise<Map<string, IdentityGroup>> {
  const groups = events.flatMap((event) => [event.customer, event.source]);
  return findIdentityGroups(sql, workspaceId, projectId, groups, known);
}

function forgetParties(known: KnownIds, projectId: string, events: readonly ReceivedEvent[]): void {
  for (const event of events) {
    for (const id of [...event.customer, ...event.source]) known.forget(projectId, id);
  }
}

/**
 * Writes a batch: in one statement, which is its own transaction, or where the server does not take that, in a
 * transaction of several.
 */
async function writeBatch(database: Database, batch: EventBatch): Promise<Written> {
  if (database.backend === 'citus') return writeInParts(database, batch);
  const { records } = batch;
  const rows = await database.query<{ event_id: string; outcome: ReceiptStatus; contested: boolean }>(
    STORE_EVENTS,
    [
      batch.workspaceId,
      batch.projectId,
      batch.ids.map((entry) => entry.id),
      batch.ids.map((entry) => entry.subscriberId),
      batch.ids.map((entry) => entry.isNew),
      records.map((record) => record.id),
      records.map((record) => record.side),
      records.map((record) => record.appUserId),
      ...columnsOf(records),
      records.map((record) => record.received.email?.value ?? null),
      records.map((record) => record.received.email?.atMs ?? 0),
      batch.isHistory,
      records.map((record) => record.sides),
      batch.known,
      records.map((record) => record.isNew),
    ],
    'store-events',
  );
  return {
    stored: new Map(rows.map((row) => [row.event_id, row.outcome])),
    contested: rows.some((row) => row.contested),
  };
}

/**
 * `known` locks the subscribers in one order (no deadlocks between processes) and leaves out those merged away
 * since they were found, so that no id is given to a subscriber that is gone; `taken` gives the subscriber that
 * another process has just given an id to. Events whose subscriber is in neither are not written, and the caller
 * starts over with them. New subscribers are written in any case: some of their ids may point to them.
 *
 * Written so that it cannot be planned badly: a plan made while the tables are empty is kept while they grow.
 * Tables are reached by arrays that their keys begin with; lists are compared by hashed subplans, never by
 * joins, which PostgreSQL would nest. With joins 250 events took 170 to 400 ms, so they take 15 to 25.
 */
const STORE_EVENTS = `
with given_id as (
  select * from unnest($3::text[], $4::uuid[], $5::boolean[]) as t (app_user_id, subscriber_id, is_new)
),
record as (
  select * from unnest($6::text[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::text[],
                       $13::bigint[], $14::text[], string_to_array($15, E'\\x1e'), $16::text[], $17::text[], $18::bigint[],
                       $20::integer[], $22::boolean[])
    as t (event_id, side, app_user_id, subscriber_id, type, kind, environment,
          event_at_ms, transaction_id, payload, skip_reason, email, email_at_ms, sides, is_new)
),
known as (
  select subscriber_id from subscribers
   where workspace_id = $1 and subscriber_id = any($21::uuid[]) and merged_into is null
   order by subscriber_id
   for no key update
),
new_id as (
  select g.* from given_id g
   where g.is_new or g.subscriber_id in (select subscriber_id from known)
   order by g.app_user_id
),
taken as (
  insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
  select $1, $2, app_user_id, subscriber_id from new_id
  on conflict (workspace_id, app_user_id, project_id) do update set subscriber_id = subscriber_ids.subscriber_id
  returning app_user_id, subscriber_id
),
created as (
  insert into subscribers (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                           first_event_at_ms, last_event_at_ms)
  select $1, $2, r.subscriber_id, now(), 1,
         (array_agg(r.email order by r.email_at_ms desc) filter (where r.email is not null))[1],
         coalesce(max(r.email_at_ms) filter (where r.email is not null), 0),
         min(r.event_at_ms), max(r.event_at_ms)
    from record r
   where r.is_new
   group by r.subscriber_id
),
placed as (
  select r.*, count(*) over (partition by r.event_id) as sides_placed from record r
   where r.subscriber_id in (select subscriber_id from known)
      or (r.is_new and (r.app_user_id is null
                        or (r.app_user_id, r.subscriber_id) in (select app_user_id, subscriber_id from taken)))
),
written as (
  insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment,
                      event_at_ms, transaction_id, payload, skip_reason)
  select $1, $2, event_id, side, subscriber_id, type, kind, environment, event_at_ms, transaction_id, payload::json,
         skip_reason
    from placed where sides_placed = sides
  on conflict (workspace_id, project_id, event_id, side) do nothing
  returning event_id, side
),
touched as (
  update subscribers s
     set due_at = least(coalesce(s.due_at, now()), now()),
         version = s.version + 1,
         waiting = false,
         first_event_at_ms = least(s.first_event_at_ms, n.first_at),
         last_event_at_ms = greatest(s.last_event_at_ms, n.last_at),
         email = case when n.email is not null and n.email_at_ms >= s.email_at_ms then n.email else s.email end,
         email_at_ms = greatest(s.email_at_ms, n.email_at_ms)
    from (select p.subscriber_id, min(p.event_at_ms) as first_at, max(p.event_at_ms) as last_at,
                 (array_agg(p.email order by p.email_at_ms desc) filter (where p.email is not null))[1] as email,
                 coalesce(max(p.email_at_ms) filter (where p.email is not null), 0) as email_at_ms
            from placed p
           where not p.is_new
             and ((p.event_id, p.side) in (select event_id, side from written)) is true
           group by p.subscriber_id) n
   where s.workspace_id = $1 and s.subscriber_id = any($21::uuid[]) and s.subscriber_id = n.subscriber_id
  returning 1
),
received as (
  update projects set last_received_at = now()
   where workspace_id = $1 and project_id = $2 and not $19::boolean
     and (last_received_at is null or last_received_at < now() - interval '5 seconds')
  returning 1
),
wake as (
  select pg_notify('delivery', $1) where exists (select 1 from written)
)
select p.event_id,
       case when p.event_id in (select event_id from written) then 'accepted' else 'duplicate' end as outcome,
       exists (select 1 from taken
                where (app_user_id, subscriber_id) not in (select app_user_id, subscriber_id from given_id))
         as contested,
       (select count(*) from touched) + (select count(*) from received) + (select count(*) from wake) as effects
  from placed p
 where p.side = 'customer' and p.sides_placed = p.sides`;
