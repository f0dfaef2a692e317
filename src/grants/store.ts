import type { Database, Sql } from '../database/sql.ts';
import { type GrantRow, toGrant } from './row.ts';
import type { Grant, Teammate } from './types.ts';

export interface NewGrant {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  readonly entitlementId: string;
  readonly lookupKey: string;
  readonly entitlementName: string;
  readonly duration: string;
  readonly askedEndMs: number;
  readonly beforeEndMs: number | null;
  readonly reason: string;
  readonly idempotencyKey: string;
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly contactId: string | null;
}

/** What comes of storing a grant. */
export type Stored =
  | { readonly kind: 'new'; readonly grant: Grant }
  /** The key was used before: this is what was made of it. */
  | { readonly kind: 'known'; readonly grant: Grant }
  | { readonly kind: 'monthly_limit' }
  /** RevenueCat's word on another grant of this entitlement is still open. */
  | { readonly kind: 'unsettled' };

/**
 * Stores a grant before anything is asked of RevenueCat, so that a second confirm finds it. The teammate's row and
 * then the subscriber's are held meanwhile: of any number of confirms at once each sees what the others have made,
 * so that neither the monthly number nor "one unsettled grant at a time" can be passed by side by side.
 *
 * @param then runs in the same transaction when the grant is new
 */
export async function storeGrant(
  database: Database,
  grant: NewGrant & { readonly grantId: string; readonly state: 'requested' | 'awaiting_approval' },
  monthlyLimit: number | null,
  then: (sql: Sql, grant: Grant) => Promise<void>,
): Promise<Stored> {
  const { workspaceId, subscriberId, entitlementId } = grant;
  return database.transaction(async (sql) => {
    await holdMaker(sql, workspaceId, grant.admin.id);
    const known = await findByKey(sql, workspaceId, grant.idempotencyKey);
    if (known) return { kind: 'known', grant: known };
    if (monthlyLimit !== null) {
      const made = await countThisMonth(sql, workspaceId, grant.admin.id);
      if (made >= monthlyLimit) return { kind: 'monthly_limit' };
    }
    if (await holdUnsettled(sql, { workspaceId, subscriberId, entitlementId }, null))
      return { kind: 'unsettled' };
    const [row] = await sql.query<GrantRow>(
      `insert into grants (workspace_id, grant_id, project_id, subscriber_id, app_user_id, entitlement_id,
                           lookup_key, entitlement_name, duration, asked_end, before_end, reason,
                           idempotency_key, admin, conversation_id, contact_id, state)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10 / 1000.0), to_timestamp($11 / 1000.0), $12,
               $13, $14, $15, $16, $17)
       returning *`,
      [
        workspaceId,
        grant.grantId,
        grant.projectId,
        subscriberId,
        grant.appUserId,
        entitlementId,
        grant.lookupKey,
        grant.entitlementName,
        grant.duration,
        grant.askedEndMs,
        grant.beforeEndMs,
        grant.reason,
        grant.idempotencyKey,
        JSON.stringify(grant.admin),
        grant.conversationId,
        grant.contactId,
        grant.state,
      ],
    );
    if (!row) throw new Error('A stored grant was not returned');
    const stored = toGrant(row);
    await then(sql, stored);
    return { kind: 'new', grant: stored };
  });
}

async function holdMaker(sql: Sql, workspaceId: string, adminId: string): Promise<void> {
  await sql.query(
    `insert into grant_makers (workspace_id, admin_id) values ($1, $2)
     on conflict (workspace_id, admin_id) do update set admin_id = excluded.admin_id`,
    [workspaceId, adminId],
  );
}

/**
 * Holds the subscriber until the transaction ends, and tells whether RevenueCat's word on a grant of the
 * entitlement is open.
 *
 * @param exceptGrantId a grant that does not count
 */
export async function holdUnsettled(
  sql: Sql,
  grant: Pick<Grant, 'workspaceId' | 'subscriberId' | 'entitlementId'>,
  exceptGrantId: string | null,
): Promise<boolean> {
  const { workspaceId, subscriberId, entitlementId } = grant;
  await sql.query(
    `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 for no key update`,
    [workspaceId, subscriberId],
  );
  const rows = await sql.query(
    `select 1 from grants
      where workspace_id = $1 and subscriber_id = $2 and entitlement_id = $3
        and state in ('requested', 'revoking') and grant_id is distinct from $4::uuid
      limit 1`,
    [workspaceId, subscriberId, entitlementId, exceptGrantId],
  );
  return rows.length > 0;
}

export async function findByKey(
  sql: Sql,
  workspaceId: string,
  idempotencyKey: string,
): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and idempotency_key = $2`,
    [workspaceId, idempotencyKey],
  );
  return row ? toGrant(row) : null;
}

export async function readGrant(sql: Sql, workspaceId: string, grantId: string): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and grant_id::text = $2`,
    [workspaceId, grantId],
  );
  return row ? toGrant(row) : null;
}

/** Newest first: what a card shows of them, and what stands in for webhooks that have not come. */
export async function listGrants(sql: Sql, workspaceId: string, subscriberId: string): Promise<Grant[]> {
  const rows = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and subscriber_id = $2 order by created_at desc limit 50`,
    [workspaceId, subscriberId],
    'list-grants',
  );
  return rows.map(toGrant);
}

/**
 * A page of a subscriber's grants, newest first.
 *
 * @param from a grant: those older than it, or newer, follow it next; `null`: from the newest
 */
export async function pageOfGrants(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
  from: { readonly direction: 'older' | 'newer'; readonly grantId: string } | null,
  limit: number,
): Promise<Grant[]> {
  const order = from?.direction === 'newer' ? 'asc' : 'desc';
  const comparison = from?.direction === 'newer' ? '>' : '<';
  const rows = await sql.query<GrantRow>(
    `select * from grants
      where workspace_id = $1 and subscriber_id = $2
        and ($3::text is null or (created_at, grant_id) ${comparison}
             (select o.created_at, o.grant_id from grants o
               where o.workspace_id = $1 and o.subscriber_id = $2 and o.grant_id::text = $3))
      order by created_at ${order}, grant_id ${order}
      limit $4`,
    [workspaceId, subscriberId, from?.grantId ?? null, limit],
  );
  const grants = rows.map(toGrant);
  return from?.direction === 'newer' ? grants.reverse() : grants;
}

/** Grants of a teammate since the first of the month (UTC) that were made or may yet be. */
export async function countThisMonth(sql: Sql, workspaceId: string, adminId: string): Promise<number> {
  const [row] = await sql.query<{ count: string }>(
    `select count(*) from grants
      where workspace_id = $1 and admin->>'id' = $2 and state not in ('failed', 'declined', 'withdrawn')
        and created_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'`,
    [workspaceId, adminId],
  );
  return Number(row?.count ?? 0);
}

/** Grants and notes, of all workspaces, that a killed process may have left behind: older than a minute. */
export async function listUnfinished(
  sql: Sql,
): Promise<{ workspaceId: string; grantId: string; isNote: boolean }[]> {
  const rows = await sql.query<{ workspace_id: string; grant_id: string; is_note: boolean }>(
    `select workspace_id, grant_id, false as is_note from grants
      where state in ('requested', 'revoking') and created_at > now() - interval '30 days'
        and coalesce(revoke_asked_at, asked_at, created_at) < now() - interval '1 minute'
     union
     select workspace_id, grant_id, true from grant_notes
      where state in ('queued', 'sending')
        and created_at between now() - interval '7 days' and now() - interval '1 minute'
     limit 1000`,
  );
  return rows.map((row) => ({
    workspaceId: row.workspace_id,
    grantId: row.grant_id,
    isNote: row.is_note,
  }));
}
