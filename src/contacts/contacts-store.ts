import type { Sql } from '../database/sql.ts';
import { notifyDelivery } from '../delivery/store.ts';

/** Contacts that teammates linked to subscribers, by subscriber, the newest link first; missing where there is none. */
export async function linkedContacts(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, string[]>> {
  const rows = await sql.query<{ subscriber_id: string; contact_ids: string[] }>(
    `select subscriber_id, array_agg(contact_id order by made_at desc) as contact_ids from contact_links
      where workspace_id = $1 and subscriber_id = any($2) group by subscriber_id`,
    [workspaceId, subscriberIds],
    'linked-contacts',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.contact_ids]));
}

/**
 * Other subscribers that may write to the contact of these: they have an app user id in common in another project,
 * were linked to the same contact, or had it last. Missing where there is none, as nearly always.
 */
export async function readSharing(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, string[]>> {
  // Each part is a look into an index for each row: joins would be planned for the tables' size on the first day.
  const rows = await sql.query<{ subscriber_id: string; others: string[] }>(
    `with contact as (
       select subscriber_id, contact_id from contact_links
        where workspace_id = $1 and subscriber_id = any($2)
       union
       select subscriber_id, contact_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) and contact_id is not null
     ), pair (mine, other) as (
       select i.subscriber_id, o.subscriber_id from subscriber_ids i
        cross join lateral (select subscriber_id from subscriber_ids
                             where workspace_id = $1 and app_user_id = i.app_user_id offset 0) o
        where i.workspace_id = $1 and i.subscriber_id = any($2)
       union
       select c.subscriber_id, o.subscriber_id from contact c
        cross join lateral (select subscriber_id from contact_links
                             where workspace_id = $1 and contact_id = c.contact_id offset 0) o
       union
       select c.subscriber_id, o.subscriber_id from contact c
        cross join lateral (select subscriber_id from subscribers
                             where workspace_id = $1 and contact_id = c.contact_id offset 0) o
     )
     select mine as subscriber_id, array_agg(other) as others from pair where mine <> other group by mine`,
    [workspaceId, subscriberIds],
    'read-sharing',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.others]));
}

/** A contact as a webhook of Intercom shows it. */
export interface SeenContact {
  readonly contactId: string;
  readonly externalId: string | null;
  readonly email: string | null;
}

const LOOK_AGAIN = `due_at = now(), version = s.version + 1, waiting = false, attempts = 0, failing_since = null,
            contact_id = null, attributes_written = null`;

/**
 * Wakes the subscribers that a contact may belong to: known by its external id, linked to it, or waiting with
 * its e-mail. Those that have this contact already are left alone. One that a worker has in hand is woken in any
 * case: it may just have been looked for, in vain, and whether it waits is not written yet.
 *
 * @returns number of subscribers woken
 */
export async function wakeForContact(sql: Sql, workspaceId: string, contact: SeenContact): Promise<number> {
  // A union: with `or` PostgreSQL reads all subscribers of the workspace.
  const rows = await sql.query(
    `update subscribers s
        set ${LOOK_AGAIN}
      where s.workspace_id = $1 and s.merged_into is null
        and (s.contact_id is distinct from $4 or s.lease_owner is not null)
        and s.subscriber_id in (
          select i.subscriber_id from subscriber_ids i where i.workspace_id = $1 and i.app_user_id = $2
          union
          select l.subscriber_id from contact_links l where l.workspace_id = $1 and l.contact_id = $4
          union
          select e.subscriber_id from subscribers e
           where e.workspace_id = $1 and e.email = lower($3) and (e.waiting or e.lease_owner is not null))
     returning 1`,
    [workspaceId, contact.externalId, contact.email, contact.contactId],
    'wake-for-contact',
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
  return rows.length;
}

/** Forgets a contact that is gone or lives on under another id; its subscribers look for theirs again. */
export async function forgetContact(sql: Sql, workspaceId: string, contactId: string): Promise<number> {
  const rows = await sql.query(
    `update subscribers s set ${LOOK_AGAIN} where s.workspace_id = $1 and s.contact_id = $2 returning 1`,
    [workspaceId, contactId],
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
  return rows.length;
}

/**
 * A contact's e-mail has changed: subscribers that only the old one matched look for theirs again, and those for
 * which a worker is looking just now.
 */
export async function forgetOldEmail(sql: Sql, workspaceId: string, contact: SeenContact): Promise<number> {
  const rows = await sql.query(
    `update subscribers s
        set ${LOOK_AGAIN}
      where s.workspace_id = $1 and s.email is distinct from lower($3)
        and (s.contact_id = $4
             or (s.contact_id is null and s.email is not null
                 and s.due_at <= now() and s.lease_owner is not null))
        and not exists (select 1 from subscriber_ids i
                         where i.workspace_id = $1 and i.app_user_id = $2
                           and i.subscriber_id = s.subscriber_id)
        and not exists (select 1 from contact_links l
                         where l.workspace_id = $1 and l.contact_id = $4
                           and l.subscriber_id = s.subscriber_id)
     returning 1`,
    [workspaceId, contact.externalId, contact.email, contact.contactId],
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
  return rows.length;
}

/**
 * Follows a merge. Links go to the contact that lives on; what the other one left on it may overlay what we
 * wrote, so its attributes are written anew.
 *
 * @param sql an open transaction
 * @param from `null`: Intercom did not name it; the next call for it is then answered 410 with the way
 */
export async function followMerge(
  sql: Sql,
  workspaceId: string,
  from: string | null,
  into: string,
): Promise<void> {
  if (from !== null) {
    await moveLinks(sql, workspaceId, from, into);
    await forgetContact(sql, workspaceId, from);
  }
  const rows = await sql.query(
    `update subscribers s
        set due_at = now(), version = s.version + 1, attributes_written = null
      where s.workspace_id = $1 and s.contact_id = $2
     returning 1`,
    [workspaceId, into],
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
}

async function moveLinks(sql: Sql, workspaceId: string, from: string, to: string): Promise<void> {
  const rows = await sql.query<{ project_id: string }>(
    `select project_id from contact_links where workspace_id = $1 and contact_id = $2
      order by project_id for update`,
    [workspaceId, from],
  );
  if (rows.length === 0) return;
  // These and no others: one that is made meanwhile must not be deleted unmoved.
  const projectIds = rows.map((row) => row.project_id);
  await sql.query(
    `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by, made_at)
     select workspace_id, $3, project_id, subscriber_id, made_by, made_at from contact_links
      where workspace_id = $1 and contact_id = $2 and project_id = any($4)
     on conflict do nothing`,
    [workspaceId, from, to, projectIds],
  );
  await sql.query(
    `delete from contact_links where workspace_id = $1 and contact_id = $2 and project_id = any($3)`,
    [workspaceId, from, projectIds],
  );
}
