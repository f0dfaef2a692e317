import { epochMs, type Sql } from '../database/sql.ts';
import { byIds, WAKE, WAKE_AND_REWRITE, wakeSubscribers } from '../database/wake-subscribers.ts';
import { notFound } from '../errors.ts';
import type { Snapshot } from '../subscription/types.ts';

export interface SubscriberKey {
  readonly workspaceId: string;
  readonly subscriberId: string;
}

export interface Subscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserIds: readonly string[];
  readonly email: string | null;
  readonly snapshot: Snapshot | null;
  readonly snapshotAtMs: number | null;
  readonly contactId: string | null;
  /** Contacts that teammates linked to it, the newest link first. */
  readonly linkedContactIds: readonly string[];
  readonly waiting: boolean;
}

/** Whether a teammate made a link `l`: a link that follows a merge of contacts has no author. */
export const MADE_BY_TEAMMATE = `l.made_by ? 'id'`;

export async function readSubscriber(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Subscriber | null> {
  return (await readSubscribers(sql, workspaceId, [subscriberId])).get(subscriberId) ?? null;
}

/** Reads subscribers, by id; merged and erased ones are missing. */
export async function readSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, Subscriber>> {
  const rows = await sql.query<Subscriber>(
    `select s.subscriber_id as "subscriberId", s.project_id as "projectId", s.email, s.snapshot,
            ${epochMs('s.snapshot_at')} as "snapshotAtMs", s.contact_id as "contactId", s.waiting,
            array(select i.app_user_id from subscriber_ids i
                   where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
                   order by i.app_user_id) as "appUserIds",
            array(select l.contact_id from contact_links l
                   where l.workspace_id = $1 and l.subscriber_id = s.subscriber_id and ${MADE_BY_TEAMMATE}
                   order by l.made_at desc) as "linkedContactIds"
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.merged_into is null`,
    [workspaceId, subscriberIds],
    'read-subscribers',
  );
  return new Map(rows.map((row) => [row.subscriberId, row]));
}

/** Whether an e-mail that was set later replaces another, in ON CONFLICT of subscribers `s`. */
const REPLACES_EMAIL = `excluded.email <> s.email and excluded.email_at_ms >= s.email_at_ms`;
/**
 * Keeps the e-mail that was set last, in ON CONFLICT of subscribers `s`. The contact may have been matched by the
 * e-mail that is replaced, so clearing `attributes_written` makes delivery look it up again.
 */
export const KEEP_LAST_EMAIL = `
  attributes_written = case when ${REPLACES_EMAIL} then null else s.attributes_written end,
  email = case when excluded.email is not null and excluded.email_at_ms >= s.email_at_ms
               then excluded.email else s.email end,
  email_at_ms = greatest(s.email_at_ms, excluded.email_at_ms)`;

/** Wakes delivery for subscribers: their contact or their state may have changed. */
export async function markPending(sql: Sql, workspaceId: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await wakeSubscribers(sql, workspaceId, { set: WAKE, ...byIds(ids), name: 'mark-pending' });
}

/** Makes subscribers write their attributes again over what others wrote to their contact. */
export async function rewriteAttributesOf(
  sql: Sql,
  workspaceId: string,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return;
  await wakeSubscribers(sql, workspaceId, {
    set: WAKE_AND_REWRITE,
    ...byIds(ids),
    name: 'rewrite-attributes-of',
  });
}

/**
 * Locks a subscriber until the transaction ends.
 *
 * @throws AppError `not_found` when the customer has been erased: nothing may be stored about them
 */
export async function lockSubscriber(sql: Sql, { workspaceId, subscriberId }: SubscriberKey): Promise<void> {
  const rows = await sql.query(
    `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 for no key update`,
    [workspaceId, subscriberId],
  );
  if (rows.length === 0) throw notFound('This customer was erased');
}
