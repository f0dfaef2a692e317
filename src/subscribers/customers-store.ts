import { clocks } from '../database/clock.ts';
import { notifyDelivery } from '../database/notify.ts';
import type { Database, Sql } from '../database/sql.ts';
import type { CustomerReading } from '../revenuecat/client.ts';
import { preferredAppUserIds } from '../subscription/identities.ts';
import type { Snapshot } from '../subscription/types.ts';
import { findIdentityGroups, type IdentityGroup } from './identity-groups.ts';
import { findOwners, lockSubscribers, takeIds } from './identity-store.ts';
import { mergeIdentityGroups } from './merge-store.ts';

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
 * @param sql where the rest is written, in one transaction; may be an open one
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
  const parties = await findIdentityGroups(database, workspaceId, projectId, groups);
  await mergeIdentityGroups(database, workspaceId, parties);

  const placed = new Map<IdentityGroup, CustomerReading>();
  for (const [index, reading] of readings.entries()) {
    const party = parties.get(groups[index]?.[0] ?? '');
    // Ids of two customers that changed hands between the two readings: one after the other.
    if (party && !placed.has(party)) placed.set(party, reading);
  }
  const entries = [...placed].map(([party, reading]) => ({ party, reading }));
  const write = (open: Sql): Promise<Map<string, Stored>> => writeCustomers(open, project, entries);
  const bySubscriber = sql === database ? await database.transaction(write) : await write(sql);
  return readings.map((reading, index) => {
    const [best] = groups[index] ?? [];
    // Only blocked ids: it stands for nobody.
    if (best === undefined) return { outcome: 'kept', subscriberId: '', hadEvents: false };
    const party = parties.get(best);
    const stored = party && placed.get(party) === reading ? bySubscriber.get(party.subscriberId) : undefined;
    return {
      outcome: stored?.outcome ?? 'again',
      subscriberId: party?.subscriberId ?? '',
      hadEvents: stored?.hadEvents ?? false,
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

type Project = Parameters<typeof storeCustomers>[2];

interface Entry {
  readonly party: IdentityGroup;
  readonly reading: CustomerReading;
}

type Stored = Pick<StoredCustomer, 'outcome' | 'hadEvents'>;

/** Known subscribers are locked first, then ids are taken, as everybody does who writes both. */
async function writeCustomers(
  sql: Sql,
  project: Project,
  entries: readonly Entry[],
): Promise<Map<string, Stored>> {
  const { workspaceId, projectId } = project;
  const all = entries.map(({ party }) => party.subscriberId);
  const known = await lockSubscribers(sql, workspaceId, all);
  const given = entries
    .filter(({ party }) => party.isNew || known.has(party.subscriberId))
    .flatMap(({ party }) => [...party.ids].map((id) => ({ id, subscriberId: party.subscriberId })));
  const stored = await findOwners(
    sql,
    workspaceId,
    projectId,
    given.map(({ id }) => id),
  );
  const free = given.filter(({ id }) => !stored.has(id));
  const taken = await takeIds(sql, workspaceId, projectId, free);
  const owners = new Map([...stored, ...taken]);

  const gained = new Set(taken.values());
  const fresh = entries.filter(({ party }) => party.isNew && gained.has(party.subscriberId));
  await createSubscribers(sql, project, fresh);
  const hadFree = new Set(free.map(({ subscriberId }) => subscriberId));
  const touched = await touchSubscribers(
    sql,
    project,
    entries.flatMap((entry) => {
      const { subscriberId } = entry.party;
      const hadEvents = known.get(subscriberId);
      return hadEvents === undefined ? [] : [{ ...entry, hadEvents, hasNewId: hadFree.has(subscriberId) }];
    }),
  );
  const isAnyDue =
    fresh.some(({ reading }) => saysSomething(reading.snapshot)) || [...touched.values()].includes(true);
  if (isAnyDue) await notifyDelivery(sql, workspaceId);

  const created = new Set(fresh.map(({ party }) => party.subscriberId));
  function outcomeOf({ ids, subscriberId }: IdentityGroup): Stored['outcome'] {
    if ([...ids].some((id) => (owners.get(id) ?? subscriberId) !== subscriberId)) return 'again';
    if (created.has(subscriberId)) return 'created';
    if (touched.has(subscriberId)) return 'updated';
    return known.has(subscriberId) ? 'kept' : 'again';
  }
  return new Map(
    entries.map(({ party }) => [
      party.subscriberId,
      { outcome: outcomeOf(party), hadEvents: known.get(party.subscriberId) ?? false },
    ]),
  );
}

/** Due only where the API told something about purchases. */
async function createSubscribers(
  sql: Sql,
  { workspaceId, projectId }: Project,
  entries: readonly Entry[],
): Promise<void> {
  if (entries.length === 0) return;
  await sql.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                              snapshot, snapshot_at)
     select $1, $2, r.subscriber_id, case when r.says_something then now() end, 1, r.email, r.email_at_ms,
            r.snapshot, to_timestamp(r.taken_at / 1000)
       from unnest($3::uuid[], $4::jsonb[], $5::float8[], $6::text[], $7::bigint[], $8::boolean[])
            as r (subscriber_id, snapshot, taken_at, email, email_at_ms, says_something)`,
    [workspaceId, projectId, ...readingValues(entries)],
    'create-customers',
  );
}

/**
 * Rows are named by arrays, not by joins with what was unnested: on tables that grow faster than their statistics
 * the planner otherwise reads all of the workspace, and each batch takes longer than the one before.
 *
 * @returns those whose snapshot was not newer, with whether they are due
 */
async function touchSubscribers(
  sql: Sql,
  { workspaceId }: Project,
  entries: readonly (Entry & { readonly hadEvents: boolean; readonly hasNewId: boolean })[],
): Promise<Map<string, boolean>> {
  if (entries.length === 0) return new Map();
  const rows = await sql.query<{ subscriber_id: string; is_due: boolean }>(
    `update subscribers s
        set snapshot = r.snapshot, snapshot_at = to_timestamp(r.taken_at / 1000), version = s.version + 1,
            due_at = case when c.changed then least(s.due_at, r.now) else s.due_at end,
            waiting = s.waiting and not c.changed,
            email = case when r.email is not null and r.email_at_ms >= s.email_at_ms then r.email else s.email end,
            email_at_ms = case when r.email is not null then greatest(s.email_at_ms, r.email_at_ms) else s.email_at_ms end
       from unnest($2::uuid[], $3::jsonb[], $4::float8[], $5::text[], $6::bigint[], $7::boolean[], $8::boolean[],
                   $9::boolean[], ${clocks('$2::uuid[]')})
            as r (subscriber_id, snapshot, taken_at, email, email_at_ms, says_something, had_events, has_new_id, now)
       join subscribers o on o.workspace_id = $1 and o.subscriber_id = any($2::uuid[])
                         and o.subscriber_id = r.subscriber_id
      cross join lateral (
        select r.has_new_id
               or case when o.snapshot is null then r.says_something or r.had_events
                       else (o.snapshot->'subscriptions', o.snapshot->'purchases', o.snapshot->'activeEntitlements')
                            is distinct from
                            (r.snapshot->'subscriptions', r.snapshot->'purchases', r.snapshot->'activeEntitlements')
                  end as changed) c
      where s.workspace_id = $1 and s.subscriber_id = any($2::uuid[]) and s.subscriber_id = r.subscriber_id
        and (s.snapshot_at is null or s.snapshot_at <= to_timestamp(r.taken_at / 1000))
     returning s.subscriber_id, coalesce(s.due_at <= r.now, false) as is_due`,
    [
      workspaceId,
      ...readingValues(entries),
      entries.map(({ hadEvents }) => hadEvents),
      entries.map(({ hasNewId }) => hasNewId),
    ],
    'touch-customers',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.is_due]));
}

function readingValues(entries: readonly Entry[]): unknown[] {
  return [
    entries.map(({ party }) => party.subscriberId),
    entries.map(({ reading }) => asJson(reading.snapshot)),
    entries.map(({ reading }) => reading.snapshot.takenAtMs),
    entries.map(({ reading }) => reading.email?.value.replaceAll('\0', '') ?? null),
    entries.map(({ reading }) => reading.email?.atMs ?? 0),
    entries.map(({ reading }) => saysSomething(reading.snapshot)),
  ];
}
