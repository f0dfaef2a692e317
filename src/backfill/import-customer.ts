import type { Sql } from '../database/sql.ts';
import { WAKE } from '../database/wake-subscribers.ts';
import { type PreparedEvent, prepareEvent, storeEvents } from '../ingestion/store-events.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { readCustomer } from '../revenuecat/customer.ts';
import { findErasedIds } from '../subscribers/erased-ids.ts';
import { storeCustomer } from '../subscribers/refresh.ts';
import { type EventFields, toEvent } from '../subscribers/stored-events.ts';
import { isBlockedId, preferredAppUserIds } from '../subscription/app-user-ids.ts';
import { keysOfEvent } from '../subscription/event-order.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { withKey } from '../workspaces/key-state.ts';
import { type Project, type ProjectKey, readProject } from '../workspaces/projects.ts';

type CustomerImport = 'imported' | 'unknown_customer' | 'no_key' | 'key_rejected' | 'blocked_id' | 'erased';

/**
 * Imports one customer that an agent opened and that is not stored yet: looked up in RevenueCat by any app user ID,
 * never created there. Past events go to the timeline, not to the contact. Repeating it changes nothing.
 *
 * @throws AppError when RevenueCat is unavailable or asks to wait
 */
export async function importCustomer(
  app: AppContext,
  customer: ProjectKey & { appUserId: string },
): Promise<CustomerImport> {
  const { workspaceId, projectId, appUserId } = customer;
  if (isBlockedId(appUserId)) return 'blocked_id';
  const project = await readProject(app.database, workspaceId, projectId);
  // An agent waits for the result, so these calls go before imports and refreshes. The card itself does not wait.
  const client = project && app.revenueCat(project);
  if (!project || !client) return 'no_key';
  const { database: sql, secrets } = app;
  if ((await findErasedIds({ sql, secrets }, project, [appUserId])).size > 0) return 'erased';
  return withKey(app, project, async () => {
    const found = await readCustomer({ ...app, project, client }, appUserId);
    if (!found) return 'unknown_customer';
    const { customerId, aliases } = found.snapshot;
    const appUserIds = preferredAppUserIds([customerId, appUserId, ...aliases]);
    await importEvents({ ...app, project, client }, { customerId, appUserIds, deliverSinceMs: null });
    return (await storeCustomer(app, project, found)) ? 'imported' : 'erased';
  });
}

/** These types name their customers in other fields. All other events must name the customer of the request. */
const NAMES_OTHERS = /^(PURCHASES_)?(TRANSFER|PURCHASE_REDEEMED)$/;

/**
 * Reads the events of one customer from the API and stores new ones on the timeline. Those since `deliverSinceMs` are
 * also delivered to the contact; `null`: none.
 *
 * @returns `known`: from webhooks, or an earlier import; `null`: RevenueCat does not offer the events
 */
export async function importEvents(
  context: AppContext & { readonly project: Project; readonly client: RevenueCatClient },
  customer: {
    readonly customerId: string;
    readonly appUserIds: readonly string[];
    readonly deliverSinceMs: number | null;
  },
): Promise<{ added: number; known: number } | null> {
  const { database, secrets, project, client } = context;
  const { customerId, appUserIds, deliverSinceMs } = customer;
  const bodies = await client.listCustomerEvents(project.revenueCatProjectId, customerId);
  if (bodies === null) return null;
  const stored = await readStored(database, project, appUserIds);
  const fresh: PreparedEvent[] = [];
  for (const body of bodies) {
    const namesCustomer = typeof body.app_user_id === 'string' || NAMES_OTHERS.test(String(body.type));
    const event = namesCustomer ? body : { ...body, app_user_id: customerId };
    const received = prepareEvent(event, context.now());
    const keys = keysOfEvent(received.event);
    if (keys.some((key) => stored.has(key))) continue;
    for (const key of keys) stored.add(key);
    fresh.push(received);
  }
  const shouldDeliver = ({ event }: PreparedEvent): boolean =>
    deliverSinceMs !== null && event.atMs >= deliverSinceMs;
  const added =
    fresh.length === 0 ? 0 : await storeEvents(database, project, fresh, { secrets, shouldDeliver });
  if (deliverSinceMs !== null)
    await deliverImported(database, project, { appUserIds, sinceMs: deliverSinceMs });
  return { added, known: bodies.length - added };
}

async function readStored(sql: Sql, project: Project, appUserIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql.query<EventFields>(
    `select e.event_id, e.side, e.received_at, e.fields
       from events e
      where e.workspace_id = $1 and e.project_id = $2
        and e.subscriber_id in (select i.subscriber_id from subscriber_ids i
                                 where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = any($3))`,
    [project.workspaceId, project.projectId, appUserIds],
    'read-stored-events',
  );
  return new Set(rows.map(toEvent).flatMap(keysOfEvent));
}

/** Delivers events that an earlier import stored for the timeline only. */
async function deliverImported(
  sql: Sql,
  project: Project,
  { appUserIds, sinceMs }: { appUserIds: readonly string[]; sinceMs: number },
): Promise<void> {
  await sql.query(
    `with released as (
       update events e set skip_reason = null
        where e.workspace_id = $1 and e.project_id = $2 and e.event_at_ms >= $4
          and e.skip_reason = 'imported'
          and e.subscriber_id in (select i.subscriber_id from subscriber_ids i
                                   where i.workspace_id = $1 and i.project_id = $2 and i.app_user_id = any($3))
       returning e.subscriber_id
     )
     update subscribers s set ${WAKE}
       from (select distinct subscriber_id from released) r
      where s.workspace_id = $1 and s.subscriber_id = r.subscriber_id`,
    [project.workspaceId, project.projectId, appUserIds, sinceMs],
  );
}
