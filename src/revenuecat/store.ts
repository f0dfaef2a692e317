import { randomUUID } from 'node:crypto';
import type { Database, Sql } from '../database/sql.ts';
import { EVENT_KINDS } from '../subscribers/types.ts';
import type { ReceivedEvent } from './webhook.ts';

export type ReceiptStatus = 'accepted' | 'duplicate';

const DELIVERABLE: ReadonlySet<string> = new Set(EVENT_KINDS);

/** One customer as a batch of events shows it: ids that belong together, and who it is known as. */
interface Party {
  readonly ids: Set<string>;
  subscriberId: string;
  /** Known subscribers that turn out to be the same customer, beside `subscriberId`. */
  readonly mergeFrom: Set<string>;
  isNew: boolean;
}

/**
 * Events whose subscriber was merged away meanwhile are tried again with the new state of affairs. Of writers
 * that meet, one always gets through, so the rounds needed are bounded by their number.
 */
const MOST_ROUNDS = 50;

/**
 * Stores events of one project with their raw payload and queues their delivery, in one transaction.
 *
 * A batch costs two round trips: one finds the subscribers, one statement writes everything. One INSERT for
 * each request took half as many webhooks a second on two cores, most of it waiting for the commit.
 *
 * @returns for each event, in order, whether it was new
 */
export async function storeEvents(
  database: Database,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
): Promise<ReceiptStatus[]> {
  const statuses = new Map<ReceivedEvent, ReceiptStatus>();
  let left: readonly ReceivedEvent[] = events;
  for (let round = 0; left.length > 0; round += 1) {
    if (round === MOST_ROUNDS) throw new Error('Subscribers changed under every attempt to store events');
    const parties = await findParties(database, workspaceId, projectId, left);
    await mergeParties(database, workspaceId, parties);
    const { stored, contested } = await writeBatch(database, workspaceId, projectId, left, parties);
    if (contested) await mergeContested(database, workspaceId, projectId, left);
    const retry: ReceivedEvent[] = [];
    const seen = new Set<string>();
    for (const event of left) {
      const outcome = stored.get(event.event.id);
      if (outcome === undefined) retry.push(event);
      // The same event twice in one batch: the second is the duplicate.
      else
        statuses.set(event, outcome === 'accepted' && !seen.has(event.event.id) ? 'accepted' : 'duplicate');
      seen.add(event.event.id);
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
  await mergeParties(database, workspaceId, await findParties(database, workspaceId, projectId, events));
}

async function mergeParties(
  database: Database,
  workspaceId: string,
  parties: ReadonlyMap<string, Party>,
): Promise<void> {
  for (const party of new Set(parties.values())) {
    if (party.mergeFrom.size > 0) await mergeSubscribers(database, workspaceId, party);
  }
}

/** Groups the ids of a batch into customers (ids that stand together in an event are one customer's). */
async function findParties(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
): Promise<Map<string, Party>> {
  const byId = new Map<string, Party>();
  for (const event of events) {
    addParty(byId, event.subject);
    addParty(byId, event.giver);
  }
  const rows = await sql.query<{ app_user_id: string; subscriber_id: string }>(
    `select app_user_id, subscriber_id from subscriber_ids
      where workspace_id = $1 and project_id = $2 and app_user_id = any($3)`,
    [workspaceId, projectId, [...byId.keys()]],
    'find-parties',
  );
  for (const row of rows) {
    const party = byId.get(row.app_user_id);
    if (!party) continue;
    if (party.isNew) {
      party.subscriberId = row.subscriber_id;
      party.isNew = false;
    } else if (party.subscriberId !== row.subscriber_id) {
      party.mergeFrom.add(row.subscriber_id);
    }
  }
  return byId;
}

function addParty(byId: Map<string, Party>, ids: readonly string[]): void {
  if (ids.length === 0) return;
  let party: Party | undefined;
  for (const id of ids) {
    const known = byId.get(id);
    if (!known || known === party) continue;
    if (!party) {
      party = known;
      continue;
    }
    for (const other of known.ids) {
      party.ids.add(other);
      byId.set(other, party);
    }
  }
  party ??= { ids: new Set(), subscriberId: randomUUID(), mergeFrom: new Set(), isNew: true };
  for (const id of ids) {
    party.ids.add(id);
    byId.set(id, party);
  }
}

interface EventRecord {
  readonly id: string;
  readonly side: 'subject' | 'giver';
  readonly appUserId: string | null;
  readonly subscriberId: string;
  readonly received: ReceivedEvent;
}

/**
 * Writes a batch in one statement, which is its own transaction.
 *
 * `known` locks the subscribers in one order (no deadlocks between processes) and leaves out those merged away
 * since they were found, so that no id is given to a subscriber that is gone; `taken` gives the subscriber that another process has just given an id to. Events
 * whose subscriber is in neither are not written, and the caller starts over with them. New subscribers are
 * written in any case: some of their ids may point to them.
 */
async function writeBatch(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
  parties: ReadonlyMap<string, Party>,
): Promise<{ stored: Map<string, ReceiptStatus>; contested: boolean }> {
  const records: EventRecord[] = [];
  const seen = new Set<string>();
  const nobody: Party[] = [];
  for (const received of events) {
    if (seen.has(received.event.id)) continue;
    seen.add(received.event.id);
    for (const side of ['subject', 'giver'] as const) {
      const [appUserId] = received[side];
      let party = appUserId === undefined ? undefined : parties.get(appUserId);
      if (!party) {
        if (side === 'giver') continue;
        // An event that names nobody stands alone: it is kept, and found by its id.
        party = { ids: new Set(), subscriberId: randomUUID(), mergeFrom: new Set(), isNew: true };
        nobody.push(party);
      }
      records.push({
        id: received.event.id,
        side,
        appUserId: appUserId ?? null,
        subscriberId: party.subscriberId,
        received,
      });
    }
  }
  const all = [...new Set([...parties.values(), ...nobody])];
  const ids = all.flatMap((party) => [...party.ids].map((id) => ({ id, subscriberId: party.subscriberId })));
  const rows = await sql.query<{ event_id: string; outcome: ReceiptStatus; contested: boolean }>(
    STORE_EVENTS,
    [
      workspaceId,
      projectId,
      ids.map((entry) => entry.id),
      ids.map((entry) => entry.subscriberId),
      all.filter((party) => party.isNew).map((party) => party.subscriberId),
      records.map((record) => record.id),
      records.map((record) => record.side),
      records.map((record) => record.appUserId),
      records.map((record) => record.subscriberId),
      records.map((record) => record.received.event.type),
      records.map((record) => record.received.event.kind),
      records.map((record) => record.received.event.environment),
      records.map((record) => record.received.event.atMs),
      records.map((record) => record.received.event.transactionId),
      records.map((record) => record.received.payload),
      records.map((record) => initialDelivery(record)),
      records.map((record) => record.received.email?.value ?? null),
      records.map((record) => record.received.email?.atMs ?? 0),
    ],
    'store-events',
  );
  return {
    stored: new Map(rows.map((row) => [row.event_id, row.outcome])),
    contested: rows.some((row) => row.contested),
  };
}

function initialDelivery(record: EventRecord): 'pending' | 'skipped' {
  // The transfer itself is recorded on the contact that received the purchases; the giver's attributes follow.
  if (record.side === 'giver') return 'skipped';
  return DELIVERABLE.has(record.received.event.kind) ? 'pending' : 'skipped';
}

const STORE_EVENTS = `
with given_id as (
  select * from unnest($3::text[], $4::uuid[]) as t (app_user_id, subscriber_id)
),
record as (
  select * from unnest($6::text[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::text[],
                       $13::bigint[], $14::text[], $15::json[], $16::text[], $17::text[], $18::bigint[])
    as t (event_id, side, app_user_id, subscriber_id, type, kind, environment,
          event_at, transaction_id, payload, delivery, email, email_at)
),
known as (
  select subscriber_id from subscribers
   where workspace_id = $1 and subscriber_id in (select subscriber_id from record) and merged_into is null
   order by subscriber_id
   for no key update
),
new_id as (
  select g.* from given_id g
   where (g.subscriber_id in (select subscriber_id from known) or g.subscriber_id = any($5::uuid[]))
     and not exists (select 1 from subscriber_ids i
                      where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = g.app_user_id)
   order by g.app_user_id
),
taken as (
  insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
  select $1, $2, app_user_id, subscriber_id from new_id
  on conflict (workspace_id, app_user_id, project_id) do update set subscriber_id = subscriber_ids.subscriber_id
  returning app_user_id, subscriber_id
),
created as (
  insert into subscribers (workspace_id, project_id, subscriber_id, due_at, version, email, email_at,
                           first_event_at, last_event_at)
  select $1, $2, r.subscriber_id, now(), 1,
         (array_agg(r.email order by r.email_at desc) filter (where r.email is not null))[1],
         coalesce(max(r.email_at) filter (where r.email is not null), 0),
         min(r.event_at), max(r.event_at)
    from record r
   where r.subscriber_id = any($5::uuid[])
   group by r.subscriber_id
  returning subscriber_id
),
placed as (
  select r.* from record r
   where r.subscriber_id in (select subscriber_id from known)
      or (r.subscriber_id in (select subscriber_id from created)
          and (r.app_user_id is null
               or exists (select 1 from taken t
                           where t.app_user_id = r.app_user_id and t.subscriber_id = r.subscriber_id)))
),
complete as (
  select event_id from record group by event_id
  having count(*) = (select count(*) from placed p where p.event_id = record.event_id)
),
written as (
  insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment,
                      event_at, transaction_id, payload, delivery)
  select $1, $2, event_id, side, subscriber_id, type, kind, environment, event_at, transaction_id, payload, delivery
    from placed where event_id in (select event_id from complete)
  on conflict (workspace_id, project_id, event_id, side) do nothing
  returning event_id, side, subscriber_id, event_at
),
touched as (
  update subscribers s
     set due_at = least(coalesce(s.due_at, now()), now()),
         version = s.version + 1,
         waiting = false,
         first_event_at = least(s.first_event_at, n.first_at),
         last_event_at = greatest(s.last_event_at, n.last_at),
         email = case when n.email is not null and n.email_at >= s.email_at then n.email else s.email end,
         email_at = greatest(s.email_at, n.email_at)
    from (select w.subscriber_id, min(w.event_at) as first_at, max(w.event_at) as last_at,
                 (array_agg(r.email order by r.email_at desc) filter (where r.email is not null))[1] as email,
                 coalesce(max(r.email_at) filter (where r.email is not null), 0) as email_at
            from written w
            join record r on r.event_id = w.event_id and r.side = w.side
            join known k on k.subscriber_id = w.subscriber_id
           group by w.subscriber_id) n
   where s.workspace_id = $1 and s.subscriber_id = n.subscriber_id
  returning s.subscriber_id
),
received as (
  update projects set last_received_at = now()
   where workspace_id = $1 and project_id = $2
     and (last_received_at is null or last_received_at < now() - interval '5 seconds')
  returning 1
),
wake as (
  select pg_notify('delivery', $1) where exists (select 1 from written)
)
select c.event_id,
       case when exists (select 1 from written w where w.event_id = c.event_id) then 'accepted' else 'duplicate' end
         as outcome,
       exists (select 1 from given_id g
                where exists (select 1 from taken t
                               where t.app_user_id = g.app_user_id and t.subscriber_id <> g.subscriber_id)
                   or exists (select 1 from subscriber_ids i
                               where i.workspace_id = $1 and i.project_id = $2
                                 and i.app_user_id = g.app_user_id and i.subscriber_id <> g.subscriber_id))
         as contested,
       (select count(*) from touched) + (select count(*) from received) + (select count(*) from wake) as effects
  from complete c`;

/**
 * Makes one subscriber of several, in one transaction. The rows are locked in one order, so that merges that
 * meet wait for each other and then find nothing left to do.
 */
async function mergeSubscribers(database: Database, workspaceId: string, party: Party): Promise<void> {
  const all = [party.subscriberId, ...party.mergeFrom];
  await database.transaction(async (sql) => {
    const rows = await sql.query<{ subscriber_id: string }>(
      `select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) and merged_into is null
        order by first_event_at nulls last, subscriber_id
        for update`,
      [workspaceId, all],
    );
    const [keeper, ...others] = rows.map((row) => row.subscriber_id);
    if (keeper === undefined) return;
    party.subscriberId = keeper;
    if (others.length === 0) return;
    await mergeInto(sql, workspaceId, keeper, others);
  });
}

async function mergeInto(
  sql: Sql,
  workspaceId: string,
  keeper: string,
  others: readonly string[],
): Promise<void> {
  const values = [workspaceId, keeper, others];
  const moves = ['subscriber_ids', 'events', 'delivery_attempts', 'contact_links', 'grants', 'audit_log'];
  for (const table of moves) {
    await sql.query(
      `update ${table} set subscriber_id = $2 where workspace_id = $1 and subscriber_id = any($3)`,
      values,
    );
  }
  await sql.query(
    `update subscribers s
        set due_at = now(), version = s.version + 1, waiting = false,
            snapshot = null, snapshot_at = null, attributes_written = null,
            contact_id = coalesce(s.contact_id, o.contact_id),
            first_event_at = least(s.first_event_at, o.first_event_at),
            last_event_at = greatest(s.last_event_at, o.last_event_at),
            email = case when o.email_at > s.email_at then o.email else s.email end,
            email_at = greatest(s.email_at, o.email_at)
       from (select min(contact_id) as contact_id, min(first_event_at) as first_event_at,
                    max(last_event_at) as last_event_at, max(email_at) as email_at,
                    (array_agg(email order by email_at desc) filter (where email is not null))[1] as email
               from subscribers where workspace_id = $1 and subscriber_id = any($3)) o
      where s.workspace_id = $1 and s.subscriber_id = $2`,
    values,
  );
  await sql.query(
    `update subscribers set merged_into = $2, due_at = null, contact_id = null, email = null, snapshot = null
      where workspace_id = $1 and subscriber_id = any($3)`,
    values,
  );
}
