import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { DAY_MS } from '../../src/time.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { PROJECT_ID, WORKSPACE_ID, type World } from '../support/world.ts';

/** Events are dated around now, because the worker uses the real clock. */
export const NOW_MS = Date.now();

/** An event of a monthly subscription that began five days ago and runs for 25 more. */
export function recentEvent(appUserId: string, fields: Record<string, unknown>): Record<string, unknown> {
  return eventBody({
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [],
    transaction_id: `t-${appUserId}`,
    original_transaction_id: `t-${appUserId}`,
    event_timestamp_ms: NOW_MS - 5 * DAY_MS,
    purchased_at_ms: NOW_MS - 5 * DAY_MS,
    expiration_at_ms: NOW_MS + 25 * DAY_MS,
    ...fields,
  });
}

/** Stores an event as its webhook would, without HTTP. */
export async function receive(
  world: Pick<World, 'db'>,
  appUserId: string,
  fields: Record<string, unknown>,
  workspaceId = WORKSPACE_ID,
): Promise<void> {
  const event = recentEvent(appUserId, fields);
  const received = prepareEvent(event, NOW_MS);
  const projectId = workspaceId === WORKSPACE_ID ? PROJECT_ID : `${workspaceId}-p1`;
  await storeEvents(world.db.database, { workspaceId, projectId }, [received]);
}

/** Links a customer of the first project with a contact as a teammate does, or with `{}` as following a merge does. */
export async function linkContact(
  world: Pick<World, 'db'>,
  appUserId: string,
  contactId: string,
  madeBy: { readonly id?: string } = { id: '1' },
): Promise<void> {
  await world.db.database.query(
    `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by)
     select workspace_id, $4, project_id, subscriber_id, $5 from subscriber_ids
      where workspace_id = $1 and project_id = $2 and app_user_id = $3`,
    [WORKSPACE_ID, PROJECT_ID, appUserId, contactId, madeBy],
  );
}

export interface EventState {
  readonly delivery: string;
  readonly reason: string | null;
  readonly attempts: number;
  readonly next_try_at: Date | null;
  readonly contact_id: string | null;
}

export async function stateOf(
  world: Pick<World, 'db'>,
  eventId: string,
  workspaceId = WORKSPACE_ID,
): Promise<EventState | undefined> {
  const [row] = await world.db.database.query<EventState & Record<string, unknown>>(
    `select delivery, reason, attempts, next_try_at, contact_id from ${EVENT_STATES}
      where workspace_id = $1 and event_id = $2 and side = 'customer'`,
    [workspaceId, eventId],
  );
  return row;
}

/** The events on contacts with these event ids, in the order in which Intercom accepted them. */
export function sentEvents(world: Pick<World, 'intercom'>, eventIds: readonly string[]) {
  return world.intercom.state.events.filter((event) => eventIds.includes(String(event.metadata.event_id)));
}
