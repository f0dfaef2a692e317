import type { Database, Sql } from '../database/sql.ts';
import { preferredAppUserIds } from '../subscribers/identities.ts';
import type { Snapshot } from '../subscribers/types.ts';
import type { CustomerReading } from './client.ts';
import { findPartiesOf, mergeParties, type Party } from './store.ts';

export interface StoredCustomer {
  /** `kept`: what is stored is newer; `again`: another process changed the subscriber meanwhile, read it anew. */
  readonly outcome: 'created' | 'updated' | 'kept' | 'again';
  readonly subscriberId: string;
  /** Whether it had a history before: only then can events and API disagree. */
  readonly hadEvents: boolean;
}

/**
 * Stores customers of one project as RevenueCat's API told them: ids that belong to one customer are joined, and
 * a snapshot replaces an older one, never a newer. Events are not touched, and those that are newer than the
 * snapshot go on counting.
 *
 * A subscriber becomes due for delivery only when the API tells something about purchases that was not known:
 * a project has many customers who never bought anything, and a search in Intercom for each would be in vain.
 *
 * @param database merges are transactions of their own, before `sql` locks any subscriber
 * @param sql where the rest is written, in one statement; may be an open transaction
 */
export async function storeCustomers(
  database: Database,
  sql: Sql,
  project: { workspaceId: string; projectId: string },
  readings: readonly CustomerReading[],
): Promise<StoredCustomer[]> {
  const { workspaceId, projectId } = project;
  const groups = readings.map(({ snapshot }) =>
    preferredAppUserIds([snapshot.customerId, ...snapshot.aliases]),
  );
  const parties = await findPartiesOf(database, workspaceId, projectId, groups);
  await mergeParties(database, workspaceId, parties);

  const placed = new Map<Party, CustomerReading>();
  for (const [index, reading] of readings.entries()) {
    const party = parties.get(groups[index]?.[0] ?? '');
    // Ids of two customers that changed hands between the two readings: one after the other.
    if (party && !placed.has(party)) placed.set(party, reading);
  }
  const entries = [...placed];
  const ids = entries.flatMap(([party]) => [...party.ids].map((id) => ({ id, owner: party.subscriberId })));
  const rows = await sql.query<{
    subscriber_id: string;
    outcome: StoredCustomer['outcome'];
    had_events: boolean;
  }>(
    STORE_CUSTOMERS,
    [
      workspaceId,
      projectId,
      ids.map(({ id }) => id),
      ids.map(({ owner }) => owner),
      entries.filter(([party]) => party.isNew).map(([party]) => party.subscriberId),
      entries.map(([party]) => party.subscriberId),
      entries.map(([, { snapshot }]) => asJson(snapshot)),
      entries.map(([, { snapshot }]) => snapshot.takenAtMs),
      entries.map(([, { email }]) => email?.value.replaceAll('\0', '') ?? null),
      entries.map(([, { email }]) => email?.atMs ?? 0),
      entries.map(([, { snapshot }]) => saysSomething(snapshot)),
    ],
    'store-customers',
  );
  const bySubscriber = new Map(rows.map((row) => [row.subscriber_id, row]));
  return readings.map((reading, index) => {
    const [best] = groups[index] ?? [];
    // Only blocked ids: it stands for nobody.
    if (best === undefined) return { outcome: 'kept', subscriberId: '', hadEvents: false };
    const party = parties.get(best);
    const row = party && placed.get(party) === reading ? bySubscriber.get(party.subscriberId) : undefined;
    return {
      outcome: row?.outcome ?? 'again',
      subscriberId: party?.subscriberId ?? '',
      hadEvents: row?.had_events ?? false,
    };
  });
}

function saysSomething(snapshot: Snapshot): boolean {
  return (
    snapshot.subscriptions.length > 0 ||
    snapshot.purchases.length > 0 ||
    snapshot.activeEntitlements.length > 0
  );
}

/** PostgreSQL's jsonb holds neither NUL nor half of a surrogate pair; anybody can write both in an attribute. */
function asJson(snapshot: Snapshot): string {
  return JSON.stringify(snapshot, (_key, value: unknown) =>
    typeof value === 'string' ? value.replaceAll('\0', '').toWellFormed() : value,
  );
}

// Rows are named by arrays, not by joins with what was unnested: on tables that grow faster than their statistics
// the planner otherwise reads all of the workspace, and each batch takes longer than the one before.
const STORE_CUSTOMERS = `
with given_id as (
  select * from unnest($3::text[], $4::uuid[]) as t (app_user_id, subscriber_id)
),
record as (
  select * from unnest($6::uuid[], $7::jsonb[], $8::float8[], $9::text[], $10::bigint[], $11::boolean[])
    as t (subscriber_id, snapshot, taken_at, email, email_at, says_something)
),
known as (
  select subscriber_id, first_event_at is not null as had_events from subscribers
   where workspace_id = $1 and subscriber_id = any($6::uuid[]) and merged_into is null
   order by subscriber_id
   for no key update
),
new_id as (
  select g.* from given_id g
   where (g.subscriber_id in (select subscriber_id from known) or g.subscriber_id = any($5::uuid[]))
     and g.app_user_id <> all (array(select i.app_user_id from subscriber_ids i
                                      where i.workspace_id = $1 and i.project_id = $2
                                        and i.app_user_id = any($3::text[])))
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
                           snapshot, snapshot_at)
  select $1, $2, r.subscriber_id, case when r.says_something then now() end, 1, r.email, r.email_at,
         r.snapshot, to_timestamp(r.taken_at / 1000)
    from record r
   where r.subscriber_id = any($5::uuid[])
     and exists (select 1 from taken t where t.subscriber_id = r.subscriber_id)
  returning subscriber_id, due_at
),
touched as (
  update subscribers s
     set snapshot = r.snapshot, snapshot_at = to_timestamp(r.taken_at / 1000), version = s.version + 1,
         due_at = case when c.changed then least(coalesce(s.due_at, now()), now()) else s.due_at end,
         waiting = s.waiting and not c.changed,
         email = case when r.email is not null and r.email_at >= s.email_at then r.email else s.email end,
         email_at = case when r.email is not null then greatest(s.email_at, r.email_at) else s.email_at end
    from record r
    join known k on k.subscriber_id = r.subscriber_id
    join subscribers o on o.workspace_id = $1 and o.subscriber_id = r.subscriber_id
   cross join lateral (
     select exists (select 1 from new_id n where n.subscriber_id = r.subscriber_id)
            or case when o.snapshot is null then r.says_something or k.had_events
                    else (o.snapshot->'subscriptions', o.snapshot->'purchases', o.snapshot->'activeEntitlements')
                         is distinct from
                         (r.snapshot->'subscriptions', r.snapshot->'purchases', r.snapshot->'activeEntitlements')
               end as changed) c
   where s.workspace_id = $1 and s.subscriber_id = r.subscriber_id
     and (s.snapshot_at is null or s.snapshot_at <= to_timestamp(r.taken_at / 1000))
  returning s.subscriber_id, s.due_at
),
contested as (
  select distinct g.subscriber_id from given_id g
   where exists (select 1 from taken t where t.app_user_id = g.app_user_id and t.subscriber_id <> g.subscriber_id)
      or exists (select 1 from subscriber_ids i
                  where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = g.app_user_id
                    and i.subscriber_id <> g.subscriber_id)
),
wake as (
  select pg_notify('delivery', $1)
   where exists (select 1 from created where due_at is not null)
      or exists (select 1 from touched where due_at <= now())
)
select r.subscriber_id,
       case when r.subscriber_id in (select subscriber_id from contested) then 'again'
            when r.subscriber_id in (select subscriber_id from created) then 'created'
            when r.subscriber_id in (select subscriber_id from touched) then 'updated'
            when r.subscriber_id in (select subscriber_id from known) then 'kept'
            else 'again' end as outcome,
       coalesce((select had_events from known k where k.subscriber_id = r.subscriber_id), false) as had_events,
       (select count(*) from wake) as effects
  from record r`;
