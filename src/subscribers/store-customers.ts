import { notifyDelivery, type Sql } from '../database/sql.ts';
import type { RevenueCatCustomer } from '../revenuecat/customer.ts';
import { preferredAppUserIds } from '../subscription/app-user-ids.ts';
import type { Snapshot } from '../subscription/types.ts';
import { compareTexts, stripNul, toStorableJson } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import { type ErasureContext, findErasedIds, withoutErased } from './erased-ids.ts';
import { type IdentityGroup, insertNewIds, lockProject, resolveIdentities } from './identity.ts';
import { KEEP_LAST_EMAIL } from './repository.ts';

export interface StoredCustomer {
  /** `unchanged`: what is stored is newer. */
  readonly outcome: 'created' | 'updated' | 'unchanged';
  readonly subscriberId: string;
  /** Whether it has a history: only then can events and API disagree. */
  readonly hadEvents: boolean;
}

/**
 * Stores customers of one project as RevenueCat's API returned them: subscribers that turn out to be one customer
 * are merged, and a snapshot replaces an older one, never a newer. Events are not touched, and those that are newer
 * than the snapshot still count.
 *
 * A subscriber becomes pending delivery only when the API reports something new about purchases: many customers of a
 * project never bought anything, and searching Intercom for each would be wasted.
 *
 * @param context with an open transaction
 * @param options.alwaysDue makes customers pending even if nothing is new
 * @returns one result for each customer, in order; `null`: the customer is erased or has only blocked ids
 */
export async function storeCustomers(
  context: ErasureContext,
  project: ProjectKey,
  {
    customers,
    alwaysDue,
  }: { readonly customers: readonly RevenueCatCustomer[]; readonly alwaysDue: boolean },
): Promise<(StoredCustomer | null)[]> {
  const { sql } = context;
  await lockProject(sql, project);
  const remaining = await dropErased(context, project, customers);
  const idLists = remaining.map(({ ids }) => ids);
  const groups = await resolveIdentities(sql, project, idLists);
  await insertNewIds(sql, project, groups.values());
  const resolved = remaining.map(({ customer, ids: [id = ''] }) => ({ customer, group: groups.get(id) }));
  const newest = new Map<IdentityGroup, RevenueCatCustomer>();
  for (const { customer, group } of resolved) {
    // When customers were merged between two reads, the newer snapshot counts.
    if (group && (newest.get(group)?.snapshot.takenAtMs ?? -1) < customer.snapshot.takenAtMs)
      newest.set(group, customer);
  }
  const stored = await saveSnapshots(sql, project, { received: [...newest], alwaysDue });
  if (stored.size > 0) await notifyDelivery(sql, project.workspaceId);
  return resolved.map(({ group }) => {
    if (!group) return null;
    const { subscriberId } = group;
    const outcome = group.isNew ? 'created' : stored.has(subscriberId) ? 'updated' : 'unchanged';
    return { outcome, subscriberId, hadEvents: stored.get(subscriberId) ?? false };
  });
}

/** Each customer with the app user ids that are not erased. */
async function dropErased(
  context: ErasureContext,
  project: ProjectKey,
  received: readonly RevenueCatCustomer[],
): Promise<{ customer: RevenueCatCustomer; ids: string[] }[]> {
  const identified = received.map((customer) => {
    const { customerId, aliases } = customer.snapshot;
    return { customer, all: preferredAppUserIds([customerId, ...aliases]) };
  });
  const appUserIds = identified.flatMap(({ all }) => all);
  const erased = await findErasedIds(context, project, appUserIds);
  return identified.map(({ customer, all }) => {
    const ids = withoutErased(all, erased);
    if (ids.length === all.length) return { customer, ids };
    // The customer shares ids with an erased one, and the attributes may be those of either.
    const { snapshot } = customer;
    const customerId = ids.includes(snapshot.customerId) ? snapshot.customerId : (ids[0] ?? '');
    const aliases = snapshot.aliases.filter((id) => ids.includes(id));
    return { customer: { snapshot: { ...snapshot, customerId, aliases, attributes: {} }, email: null }, ids };
  });
}

function hasPurchases({ subscriptions, purchases, activeEntitlements }: Snapshot): boolean {
  return subscriptions.length + purchases.length + activeEntitlements.length > 0;
}

/**
 * Creates subscribers, or replaces snapshots that are not newer. Marks subscribers as pending when the API reports
 * something new about purchases, or a new app user id.
 *
 * @returns the subscribers that were stored, with whether they have events
 */
async function saveSnapshots(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  {
    received,
    alwaysDue,
  }: {
    readonly received: readonly (readonly [IdentityGroup, RevenueCatCustomer])[];
    readonly alwaysDue: boolean;
  },
): Promise<Map<string, boolean>> {
  if (received.length === 0) return new Map();
  // Sorted: rows are locked by id, as in every statement that writes several. In different orders, two could deadlock.
  const customers = received.toSorted(([a], [b]) => compareTexts(a.subscriberId, b.subscriberId));
  const rows = await sql.query<{ subscriber_id: string; had_events: boolean }>(
    // `created_at` carries the statement's time: Citus accepts neither now() nor a parameter in ON CONFLICT.
    `insert into subscribers as s (workspace_id, project_id, subscriber_id, due_at, version, email, email_at_ms,
                                   snapshot, snapshot_at, created_at)
     select $1, $2, subscriber_id, case when is_due then now() end, 1, email, email_at_ms, snapshot,
            to_timestamp(taken_at_ms / 1000), now()
       from unnest($3::uuid[], $4::jsonb[], $5::float8[], $6::text[], $7::bigint[], $8::boolean[])
            as t (subscriber_id, snapshot, taken_at_ms, email, email_at_ms, is_due)
     on conflict (workspace_id, subscriber_id) do update
        set snapshot = excluded.snapshot,
            snapshot_at = excluded.snapshot_at,
            version = s.version + 1,
            due_at = case when ${MAY_MATCH} or (not s.waiting and (${alwaysDue ? 'true' : IS_CHANGED}))
                          then least(s.due_at, excluded.created_at) else s.due_at end,
            ${KEEP_LAST_EMAIL}
      where s.snapshot_at is null or s.snapshot_at <= excluded.snapshot_at
     returning s.subscriber_id, s.first_event_at_ms is not null as had_events`,
    [
      workspaceId,
      projectId,
      customers.map(([group]) => group.subscriberId),
      customers.map(([, { snapshot }]) => toStorableJson(snapshot)),
      customers.map(([, { snapshot }]) => snapshot.takenAtMs),
      customers.map(([, { email }]) => (email ? stripNul(email.value) : null)),
      customers.map(([, { email }]) => email?.atMs ?? 0),
      customers.map(([{ isNew, newIds }, { snapshot }]) =>
        isNew ? alwaysDue || hasPurchases(snapshot) : newIds.length > 0,
      ),
    ],
    alwaysDue ? 'save-due-snapshots' : 'save-snapshots',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.had_events]));
}

/** For ON CONFLICT: whether a new app user id or e-mail may be that of a contact, or replaces one that was. */
const MAY_MATCH = `excluded.due_at is not null or (excluded.email_at_ms >= s.email_at_ms
  and excluded.email <> coalesce(s.email, case when s.waiting then '' end))`;
/**
 * For ON CONFLICT: the first snapshot after an event counts as a change, since it may contradict the event. A subscriber
 * that waits for a contact is not woken for it: the contact would only be looked up again.
 */
const IS_CHANGED = `s.last_event_at_ms >= coalesce((s.snapshot->>'takenAtMs')::float8, 0)
  or ${['subscriptions', 'purchases', 'activeEntitlements']
    .map((list) => `coalesce(s.snapshot->'${list}', '[]') is distinct from excluded.snapshot->'${list}'`)
    .join(' or ')}`;
