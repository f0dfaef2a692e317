import { ContactLinkEntity, type ContactLinkRow, upsert } from '../database/entities.ts';
import { type Entities, type Sql, USE_ORDERED_INDEX } from '../database/sql.ts';
import { WAKE_AND_RETRY, WAKE_AND_REWRITE, wakeSubscribers } from '../database/wake-subscribers.ts';
import type { IntercomContact } from '../intercom/client.ts';
import { MADE_BY_TEAMMATE, type SubscriberKey } from '../subscribers/repository.ts';
import { IS_CONNECTED, type ProjectKey } from '../workspaces/projects.ts';

/**
 * Other subscribers that may write to the same contact, by subscriber: they share an app user id in another project,
 * are linked to the same contact, or have it. Nearly always there are none. Subscribers that were merged into another
 * are missing: their events are planned and sent with the other's.
 */
export async function findSharedSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, string[]>> {
  // Each part reads an index for each row: a plain join would use a plan made for small tables.
  const rows = await sql.query<{ subscriber_id: string; others: string[] }>(
    `with contact as (
       select subscriber_id, contact_id from contact_links
        where workspace_id = $1 and subscriber_id = any($2)
       union
       select subscriber_id, contact_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2)
     ), pair as (
       select i.subscriber_id as mine, o.subscriber_id as other from subscriber_ids i
        cross join lateral (select subscriber_id from subscriber_ids, ${USE_ORDERED_INDEX}
                             where workspace_id = $1 and app_user_id = i.app_user_id
                             order by project_id offset 0) o
        where i.workspace_id = $1 and i.subscriber_id = any($2)
       union
       select c.subscriber_id, o.subscriber_id from contact c
        cross join lateral (select subscriber_id from contact_links, ${USE_ORDERED_INDEX}
                             where workspace_id = $1 and contact_id = c.contact_id
                             order by project_id offset 0) o
       union
       select c.subscriber_id, o.subscriber_id from contact c
        cross join lateral (select subscriber_id from subscribers
                             where workspace_id = $1 and contact_id = c.contact_id offset 0) o
     ), shared as materialized (
       select mine, array_agg(other) as others from pair where mine <> other group by mine
     )
     select s.subscriber_id, coalesce(shared.others, '{}') as others from subscribers s
       left join shared on shared.mine = s.subscriber_id
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.merged_into is null`,
    [workspaceId, subscriberIds],
    'find-shared-subscribers',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.others]));
}

/**
 * Other subscribers whose attributes the contact shows instead of this one's: the subscriber of the same project that
 * is linked to the contact, as on its card; else the subscribers of connected projects that have the contact and an
 * event later than `lastEventMs`.
 */
export async function findPreferred(
  sql: Sql,
  { workspaceId, projectId, subscriberId }: ProjectKey & SubscriberKey,
  shared: { contactId: string; others: readonly string[]; lastEventMs: number },
): Promise<string[]> {
  if (shared.others.length === 0) return [];
  const rows = await sql.query<{ subscriber_id: string }>(
    `with linked as (
       -- The newest link of a subscriber; an older one only for this subscriber, or for one that delivers there.
       select l.project_id, l.subscriber_id from contact_links l
         join subscribers h on h.workspace_id = $1 and h.subscriber_id = l.subscriber_id
        where l.workspace_id = $1 and l.contact_id = $4
          and (h.contact_id = $4 or h.subscriber_id = $6
               or l.made_at = (select max(made_at) from contact_links
                                where workspace_id = $1 and subscriber_id = l.subscriber_id))
     )
     select s.subscriber_id from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = any($3)
        -- In the same project: the linked subscriber.
        and (s.project_id = $2 and s.subscriber_id in (select subscriber_id from linked)
          -- In any connected project: a subscriber that has the contact and a later event.
          or s.contact_id = $4
             -- Not if it is hidden itself by its own project's link: three could hide each other in a circle.
             and s.project_id not in (select project_id from linked where subscriber_id <> s.subscriber_id)
             and exists (select 1 from projects p
                          where p.workspace_id = $1 and p.project_id = s.project_id and ${IS_CONNECTED})
             and exists (select 1 from events e
                          where e.workspace_id = $1 and e.subscriber_id = s.subscriber_id and e.event_at_ms > $5
                            and e.environment is distinct from 'sandbox'
                            and e.skip_reason is distinct from 'timeline_only'))`,
    [workspaceId, projectId, shared.others, shared.contactId, shared.lastEventMs, subscriberId],
  );
  return rows.map((row) => row.subscriber_id);
}

interface ContactIdentity {
  readonly contactId: string;
  readonly externalId: string | null;
  /** In lower case, as the e-mails of subscribers are stored. */
  readonly email: string | null;
}

/** Also clears what was written: the contact is looked up again, and a former one is cleared if another is found. */
const WAKE_AND_MATCH = `${WAKE_AND_RETRY}, attributes_written = null`;

/** Subscribers with the contact's external id ($2), or linked to it ($4). */
const OWNERS = `
  select i.subscriber_id from subscriber_ids i where i.workspace_id = $1 and i.app_user_id = $2
  union
  select l.subscriber_id from contact_links l where l.workspace_id = $1 and l.contact_id = $4`;

/**
 * Wakes the subscribers that a contact may belong to: those with its external id, linked to it, or waiting with its
 * e-mail. Subscribers that already have this contact are not woken, unless a worker is delivering them: the worker may
 * just have failed to find the contact and not have stored this yet.
 *
 * @returns number of subscribers woken
 */
export function wakeForContact(sql: Sql, workspaceId: string, contact: ContactIdentity): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    set: WAKE_AND_MATCH,
    name: 'wake-for-contact',
    // A union: with `or` PostgreSQL reads all subscribers of the workspace.
    where: `(s.contact_id is distinct from $4 or s.lease_owner is not null)
        and s.subscriber_id in (${OWNERS}
          union
          select e.subscriber_id from subscribers e
           where e.workspace_id = $1 and e.email = $3
             and (e.waiting or e.lease_owner is not null or e.failing_since is not null))`,
    values: [contact.externalId, contact.email, contact.contactId],
  });
}

/**
 * Whether subscriber `s` has no contact while a worker may be looking for it, or because Intercom refused the lookup or
 * the creation, which is tried again in a day.
 */
export const IS_LOOKED_UP = `(s.contact_id is null and (s.lease_owner is not null or s.failing_since is not null))`;

/**
 * Wakes only the subscribers that wait for a contact with this external id. A card that shows the contact calls this,
 * in case Intercom's webhook was lost. Nearly always there are none, and nothing is written.
 *
 * @returns number of subscribers woken
 */
export function wakeWaitingFor(sql: Sql, workspaceId: string, externalId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    set: WAKE_AND_MATCH,
    name: 'wake-waiting-for',
    where: `((s.waiting and (s.due_at is null or s.due_at > now())) or ${IS_LOOKED_UP})
        and s.subscriber_id = any(array(select i.subscriber_id from subscriber_ids i
                                         where i.workspace_id = $1 and i.app_user_id = $2))`,
    values: [externalId],
  });
}

/**
 * Matches subscribers again after matching by e-mail was switched off: those that it may have matched, and those that a
 * worker is matching right now.
 */
export function rematchByEmail(sql: Sql, workspaceId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    set: WAKE_AND_MATCH,
    where: 's.email is not null and (s.contact_id is not null or s.lease_owner is not null)',
    values: [],
  });
}

/** Unassigns a contact that was deleted or merged; its subscribers are matched again. */
export function unassignContact(sql: Sql, workspaceId: string, contactId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    set: `${WAKE_AND_MATCH}, contact_id = null`,
    name: 'unassign-contact',
    where: 's.contact_id = $2',
    values: [contactId],
  });
}

/**
 * Matches subscribers again after a contact's e-mail has changed: those that only the old e-mail matched, and those
 * that a worker is matching right now.
 */
export function rematchByOldEmail(sql: Sql, workspaceId: string, contact: ContactIdentity): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    set: WAKE_AND_MATCH,
    name: 'rematch-by-old-email',
    where: `s.email is distinct from $3
        and (s.contact_id = $4
             or (s.email is not null and s.due_at <= now() and ${IS_LOOKED_UP}))
        and s.subscriber_id not in (${OWNERS})`,
    values: [contact.externalId, contact.email, contact.contactId],
  });
}

/**
 * Follows a merge. Links are moved to the surviving contact; its attributes are written again, since those of the
 * merged contact may have replaced what we wrote.
 *
 * @param sql an open transaction
 * @param from `null`: Intercom did not name it; a job reads it, and the next call for that contact is answered 410
 */
export async function followMerge(
  sql: Sql,
  workspaceId: string,
  { from, into }: { from: string | null; into: string },
): Promise<void> {
  if (from !== null) {
    await moveLinks(sql, workspaceId, { from, into });
    await unassignContact(sql, workspaceId, from);
  }
  await rewriteContactAttributes(sql, workspaceId, into);
}

export function rewriteContactAttributes(sql: Sql, workspaceId: string, contactId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, {
    name: 'rewrite-contact-attributes',
    set: WAKE_AND_REWRITE,
    where: 's.contact_id = $2',
    values: [contactId],
  });
}

/**
 * Whether a customer's attributes are on the contact. `pending`: a customer who has the contact is due and may write
 * them; a customer with only test events writes none.
 */
export async function readAttributesStatus(
  sql: Sql,
  workspaceId: string,
  contactId: string,
): Promise<'written' | 'pending' | 'none'> {
  const rows = await sql.query<{ is_written: boolean; is_due: boolean }>(
    `select attributes_written is not null as is_written, coalesce(due_at <= now(), false) as is_due
       from subscribers where workspace_id = $1 and contact_id = $2`,
    [workspaceId, contactId],
  );
  if (rows.some((row) => row.is_written)) return 'written';
  return rows.some((row) => row.is_due) ? 'pending' : 'none';
}

type ContactLinkKey = Pick<ContactLinkRow, 'workspaceId' | 'contactId' | 'projectId'>;

/**
 * Links a subscriber to the survivor of its merged contact, whose card has another external id and would not find them.
 * A customer with that external id takes precedence. The link has no author: deliveries still match by external id.
 */
export async function linkSurvivor(
  sql: Sql,
  { workspaceId, subscriberId }: SubscriberKey,
  survivor: Pick<IntercomContact, 'id' | 'external_id'>,
): Promise<void> {
  await sql.query(
    `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by, made_at)
     select workspace_id, $3, project_id, subscriber_id, '{}', now() from subscribers s
      where workspace_id = $1 and subscriber_id = $2 and merged_into is null
        and not exists (select 1 from subscriber_ids i
                         where i.workspace_id = $1 and i.app_user_id = $4 and i.project_id = s.project_id)
        for key share
     on conflict do nothing`,
    [workspaceId, subscriberId, survivor.id, survivor.external_id],
  );
}

/** Removes a link that `linkSurvivor` made for another customer, now that one has the contact's external id. */
export async function unlinkSurvivor(sql: Sql, link: ContactLinkKey & SubscriberKey): Promise<void> {
  await sql.query(
    `delete from contact_links l
      where workspace_id = $1 and contact_id = $2 and project_id = $3 and subscriber_id <> $4
        and not ${MADE_BY_TEAMMATE}`,
    [link.workspaceId, link.contactId, link.projectId, link.subscriberId],
  );
}

/** Locks the links of a contact until the transaction ends: another teammate may be linking it. */
export async function lockLinks(sql: Sql, workspaceId: string, contactId: string): Promise<void> {
  await sql.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [
    `link/${workspaceId}/${contactId}`,
  ]);
}

/** The subscriber that a contact is linked to in one project; `null`: no link. */
export async function readLinkedId(
  sql: Sql,
  { workspaceId, contactId, projectId }: ContactLinkKey,
): Promise<string | null> {
  const [row] = await sql.query<{ subscriber_id: string }>(
    `select subscriber_id from contact_links where workspace_id = $1 and contact_id = $2 and project_id = $3`,
    [workspaceId, contactId, projectId],
  );
  return row?.subscriber_id ?? null;
}

/** Links a contact to a subscriber; one link for each project, the newest wins. */
export async function saveLink(database: Entities, link: Omit<ContactLinkRow, 'madeAt'>): Promise<void> {
  await upsert(database, ContactLinkEntity, [{ ...link, madeAt: new Date() }]);
}

export async function deleteLink(
  { manager }: Entities,
  link: Pick<ContactLinkRow, 'workspaceId' | 'contactId' | 'subscriberId'>,
): Promise<void> {
  await manager.delete(ContactLinkEntity, link);
}

/** Moves links from a merged contact to the surviving one, whose card finds the customer by them. */
export async function moveLinks(
  sql: Sql,
  workspaceId: string,
  { from, into }: { from: string; into: string },
): Promise<void> {
  const rows = await sql.query<{ project_id: string }>(
    `select project_id from contact_links where workspace_id = $1 and contact_id = $2
      order by project_id for update`,
    [workspaceId, from],
  );
  if (rows.length === 0) return;
  // Only the links read above: one that is made concurrently must not be deleted without being moved.
  const projectIds = rows.map((row) => row.project_id);
  await sql.query(
    `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by, made_at)
     select workspace_id, $3, project_id, subscriber_id, made_by, made_at from contact_links
      where workspace_id = $1 and contact_id = $2 and project_id = any($4)
     on conflict do nothing`,
    [workspaceId, from, into, projectIds],
  );
  await sql.query(
    `delete from contact_links where workspace_id = $1 and contact_id = $2 and project_id = any($3)`,
    [workspaceId, from, projectIds],
  );
}
