import { notifyDelivery } from '../database/notify.ts';
import { clocks, type Sql } from '../database/sql.ts';
import type { RevenueCatCustomer } from '../revenuecat/client.ts';
import { preferredAppUserIds } from '../subscription/identities.ts';
import type { Snapshot } from '../subscription/types.ts';
import { stripNul } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import { type ErasedContext, findErasedIds, withoutErased } from './erased-ids.ts';
import { type IdentityGroup, insertNewIds, lockProject, resolveIdentities } from './identity.ts';

export interface StoredCustomer {
  /** `unchanged`: what is stored is newer. */
  readonly outcome: 'created' | 'updated' | 'unchanged';
  readonly subscriberId: string;
  /** Whether it had a history before: only then can events and API disagree. */
  readonly hadEvents: boolean;
}

/**
 * Stores customers of one project as RevenueCat's API returned them: subscribers that turn out to be one customer
 * are merged, and a snapshot replaces an older one, never a newer. Events are not touched, and those that are newer
 * than the snapshot still count.
 *
 * A subscriber becomes pending delivery only when the API says something about purchases that was not known:
 * a project has many customers who never bought anything, and searching Intercom for each would be wasted.
 *
 * @param within an open transaction
 * @returns for each customer, in order
 */
export async function storeCustomers(
  within: ErasedContext,
  project: ProjectKey,
  received: readonly RevenueCatCustomer[],
): Promise<StoredCustomer[]> {
  const { sql } = within;
  await lockProject(sql, project);
  const { customers, idLists } = await dropErased(within, project, received);
  const groups = await resolveIdentities(sql, project, idLists);
  await insertNewIds(sql, project, groups.values());
  const groupOf = (index: number): IdentityGroup | undefined => groups.get(idLists[index]?.[0] ?? '');
  const newest = new Map<IdentityGroup, RevenueCatCustomer>();
  for (const [index, customer] of customers.entries()) {
    const group = groupOf(index);
    // Customers that were merged between two reads: the newer one counts.
    if (group && (newest.get(group)?.snapshot.takenAtMs ?? -1) < customer.snapshot.takenAtMs)
      newest.set(group, customer);
  }
  const hadEvents = await lockSubscribers(sql, project, [...newest.keys()]);
  const entries = [...newest].map(([group, customer]): Entry => {
    return { group, customer, hadEvents: hadEvents.get(group.subscriberId) ?? false };
  });
  const created = entries.filter(({ group }) => group.isNew);
  await createSubscribers(sql, project, created);
  const known = entries.filter(({ group }) => !group.isNew);
  const updated = await updateSubscribers(sql, project, known);
  if (created.some(({ customer }) => hasPurchases(customer.snapshot)) || [...updated.values()].includes(true))
    await notifyDelivery(sql, project.workspaceId);
  return customers.map((_, index) => {
    const group = groupOf(index);
    // Only blocked ids, or an erased customer: nothing is stored.
    if (!group) return { outcome: 'unchanged', subscriberId: '', hadEvents: false };
    const { subscriberId } = group;
    const outcome = group.isNew ? 'created' : updated.has(subscriberId) ? 'updated' : 'unchanged';
    return { outcome, subscriberId, hadEvents: hadEvents.get(subscriberId) ?? false };
  });
}

async function dropErased(
  within: ErasedContext,
  project: ProjectKey,
  customers: readonly RevenueCatCustomer[],
): Promise<{ customers: RevenueCatCustomer[]; idLists: string[][] }> {
  const all = customers.map(({ snapshot }) =>
    preferredAppUserIds([snapshot.customerId, ...snapshot.aliases]),
  );
  const erased = await findErasedIds(within, project, all.flat());
  const idLists = all.map((ids) => withoutErased(ids, erased));
  const left = customers.map((customer, index): RevenueCatCustomer => {
    const ids = idLists[index] ?? [];
    const { snapshot } = customer;
    if (ids.length === all[index]?.length) return customer;
    // An identified customer who shares ids with an erased one. Attributes may be those of either.
    const customerId = ids.includes(snapshot.customerId) ? snapshot.customerId : (ids[0] ?? '');
    const aliases = snapshot.aliases.filter((id) => ids.includes(id));
    return { snapshot: { ...snapshot, customerId, aliases, attributes: {} }, email: null };
  });
  return { customers: left, idLists };
}

interface Entry {
  readonly group: IdentityGroup;
  readonly customer: RevenueCatCustomer;
  /** Before this read. */
  readonly hadEvents: boolean;
}

function hasPurchases(snapshot: Snapshot): boolean {
  return (
    snapshot.subscriptions.length > 0 ||
    snapshot.purchases.length > 0 ||
    snapshot.activeEntitlements.length > 0
  );
}

/** PostgreSQL's jsonb holds neither NUL nor half of a surrogate pair; anyone can write both in an attribute. */
function toJson(snapshot: Snapshot): string {
  return JSON.stringify(snapshot, (_key, value: unknown) =>
    typeof value === 'string' ? stripNul(value).toWellFormed() : value,
  );
}

/**
 * Locks in one order, as delivery locks subscribers that share a contact.
 *
 * @returns whether each had events
 */
async function lockSubscribers(
  sql: Sql,
  { workspaceId }: ProjectKey,
  groups: readonly IdentityGroup[],
): Promise<Map<string, boolean>> {
  const rows = await sql.query<{ subscriber_id: string; had_events: boolean }>(
    `select subscriber_id, first_event_at_ms is not null as had_events from subscribers
      where workspace_id = $1 and subscriber_id = any($2::uuid[])
      order by subscriber_id
        for no key update`,
    [workspaceId, groups.map(({ subscriberId }) => subscriberId)],
    'lock-subscribers',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.had_events]));
}

/** Pending only where the API said something about purchases. */
async function createSubscribers(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  entries: readonly Entry[],
): Promise<void> {
  if (entries.length === 0) return;
  await sql.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                              snapshot, snapshot_at)
     select $1, $2, r.subscriber_id, case when r.has_purchases then now() end, 1, r.email, r.email_at_ms,
            r.snapshot, to_timestamp(r.taken_at_ms / 1000)
       from unnest($3::uuid[], $4::jsonb[], $5::float8[], $6::text[], $7::bigint[], $8::boolean[])
            as r (subscriber_id, snapshot, taken_at_ms, email, email_at_ms, has_purchases)`,
    [workspaceId, projectId, ...customerParameters(entries)],
    'create-customers',
  );
}

/**
 * Rows are named by arrays, not by joins with what was unnested: on tables that grow faster than their statistics
 * the planner otherwise reads all of the workspace, and each batch takes longer than the one before.
 *
 * @returns those whose snapshot was not newer, with whether they are pending
 */
async function updateSubscribers(
  sql: Sql,
  { workspaceId }: ProjectKey,
  entries: readonly Entry[],
): Promise<Map<string, boolean>> {
  if (entries.length === 0) return new Map();
  const rows = await sql.query<{ subscriber_id: string; is_due: boolean }>(
    `update subscribers s
        set snapshot = r.snapshot, snapshot_at = to_timestamp(r.taken_at_ms / 1000), version = s.version + 1,
            due_at = case when c.changed then least(s.due_at, r.now) else s.due_at end,
            waiting = s.waiting and not c.changed,
            email = case when r.email is not null and r.email_at_ms >= s.email_at_ms then r.email else s.email end,
            email_at_ms = case when r.email is not null then greatest(s.email_at_ms, r.email_at_ms)
                               else s.email_at_ms end
       from unnest($2::uuid[], $3::jsonb[], $4::float8[], $5::text[], $6::bigint[], $7::boolean[], $8::boolean[],
                   $9::boolean[], ${clocks('$2::uuid[]')})
            as r (subscriber_id, snapshot, taken_at_ms, email, email_at_ms, has_purchases, had_events, has_new_id, now)
       join subscribers o on o.workspace_id = $1 and o.subscriber_id = any($2::uuid[])
                         and o.subscriber_id = r.subscriber_id
      cross join lateral (
        select r.has_new_id
               or case when o.snapshot is null then r.has_purchases or r.had_events
                       else (o.snapshot->'subscriptions', o.snapshot->'purchases', o.snapshot->'activeEntitlements')
                            is distinct from
                            (r.snapshot->'subscriptions', r.snapshot->'purchases', r.snapshot->'activeEntitlements')
                  end as changed) c
      where s.workspace_id = $1 and s.subscriber_id = any($2::uuid[]) and s.subscriber_id = r.subscriber_id
        and (s.snapshot_at is null or s.snapshot_at <= to_timestamp(r.taken_at_ms / 1000))
     returning s.subscriber_id, coalesce(s.due_at <= r.now, false) as is_due`,
    [
      workspaceId,
      ...customerParameters(entries),
      entries.map(({ hadEvents }) => hadEvents),
      entries.map(({ group }) => group.newIds.length > 0),
    ],
    'update-customers',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.is_due]));
}

/** Parameters for subscriber_id, snapshot, taken_at_ms, email, email_at_ms and has_purchases. */
function customerParameters(entries: readonly Entry[]): unknown[] {
  return [
    entries.map(({ group }) => group.subscriberId),
    entries.map(({ customer }) => toJson(customer.snapshot)),
    entries.map(({ customer }) => customer.snapshot.takenAtMs),
    entries.map(({ customer }) => (customer.email ? stripNul(customer.email.value) : null)),
    entries.map(({ customer }) => customer.email?.atMs ?? 0),
    entries.map(({ customer }) => hasPurchases(customer.snapshot)),
  ];
}
