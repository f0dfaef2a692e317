import type { Database, Sql } from '../database/sql.ts';
import type { Grant, GrantState, Teammate } from './types.ts';

interface GrantRow {
  workspace_id: string;
  grant_id: string;
  project_id: string;
  subscriber_id: string;
  app_user_id: string;
  entitlement_id: string;
  lookup_key: string;
  entitlement_name: string | null;
  duration: string;
  asked_end: Date;
  before_end: Date | null;
  real_end: Date | null;
  kept: boolean;
  reason: string;
  admin: Teammate;
  decided_by: Teammate | null;
  conversation_id: string | null;
  contact_id: string | null;
  state: GrantState;
  error: string | null;
  created_at: Date;
  asked_at: Date | null;
  answered: boolean;
  revoked_by: Teammate | null;
  revoke_reason: string | null;
  revoke_asked_at: Date | null;
  revoked_at: Date | null;
}

function toGrant(row: GrantRow): Grant {
  return {
    workspaceId: row.workspace_id,
    grantId: row.grant_id,
    projectId: row.project_id,
    subscriberId: row.subscriber_id,
    appUserId: row.app_user_id,
    entitlementId: row.entitlement_id,
    lookupKey: row.lookup_key,
    entitlementName: row.entitlement_name ?? row.lookup_key,
    duration: row.duration,
    askedEndMs: row.asked_end.getTime(),
    beforeEndMs: row.before_end?.getTime() ?? null,
    realEndMs: row.real_end?.getTime() ?? null,
    kept: row.kept,
    reason: row.reason,
    admin: row.admin,
    decidedBy: row.decided_by,
    conversationId: row.conversation_id,
    contactId: row.contact_id,
    state: row.state,
    error: row.error,
    createdAtMs: row.created_at.getTime(),
    askedAtMs: row.asked_at?.getTime() ?? null,
    answered: row.answered,
    revokedBy: row.revoked_by,
    revokeReason: row.revoke_reason ?? '',
    revokeAskedAtMs: row.revoke_asked_at?.getTime() ?? null,
    revokedAtMs: row.revoked_at?.getTime() ?? null,
  };
}

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

export interface Move {
  readonly from: readonly GrantState[];
  readonly to: GrantState;
  readonly error?: string | null;
  readonly realEndMs?: number | null;
  readonly kept?: boolean;
  /** With an approval: from which end to which. */
  readonly askedEndMs?: number;
  readonly beforeEndMs?: number | null;
  readonly decidedBy?: Teammate;
  readonly revokedBy?: Teammate;
  readonly revokeReason?: string;
}

/** Moves a grant on, if it still is where the caller believes it; `null`: somebody else was first. */
export async function moveGrant(
  sql: Sql,
  grant: Pick<Grant, 'workspaceId' | 'grantId'>,
  move: Move,
): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `update grants
        set state = $4, error = $5,
            settled_at = case when $4 in ('requested', 'revoking') then settled_at else now() end,
            real_end = coalesce(to_timestamp($6 / 1000.0), real_end),
            kept = coalesce($7, kept),
            asked_end = coalesce(to_timestamp($8 / 1000.0), asked_end),
            before_end = case when $8::float8 is null then before_end else to_timestamp($9 / 1000.0) end,
            decided_by = coalesce($10::jsonb, decided_by),
            revoked_by = coalesce($11::jsonb, revoked_by),
            revoke_reason = coalesce($12, revoke_reason),
            revoke_asked_at = case when $4 = 'revoking' then now() else revoke_asked_at end,
            revoked_at = case when $4 = 'revoked' then now() else revoked_at end
      where workspace_id = $1 and grant_id = $2 and state = any($3)
     returning *`,
    [
      grant.workspaceId,
      grant.grantId,
      move.from,
      move.to,
      move.error ?? null,
      move.realEndMs ?? null,
      move.kept ?? null,
      move.askedEndMs ?? null,
      move.beforeEndMs ?? null,
      move.decidedBy === undefined ? null : JSON.stringify(move.decidedBy),
      move.revokedBy === undefined ? null : JSON.stringify(move.revokedBy),
      move.revokeReason ?? null,
    ],
  );
  return row ? toGrant(row) : null;
}

/**
 * Takes the one right to ask RevenueCat for a grant. Whoever gets `null` must not ask: another has, or had it and
 * was killed, and only reading tells what came of it.
 */
export async function takeAsking(
  sql: Sql,
  grant: Pick<Grant, 'workspaceId' | 'grantId'>,
): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `update grants set asked_at = now()
      where workspace_id = $1 and grant_id = $2 and state = 'requested' and asked_at is null
     returning *`,
    [grant.workspaceId, grant.grantId],
  );
  return row ? toGrant(row) : null;
}

export async function noteAnswer(sql: Sql, grant: Pick<Grant, 'workspaceId' | 'grantId'>): Promise<void> {
  await sql.query(`update grants set answered = true where workspace_id = $1 and grant_id = $2`, [
    grant.workspaceId,
    grant.grantId,
  ]);
}

/** Other running grants of the same entitlement: RevenueCat ends them with the one that is removed. */
export async function revokeSiblings(
  sql: Sql,
  grant: Pick<Grant, 'workspaceId' | 'grantId' | 'subscriberId' | 'entitlementId' | 'revokedBy'>,
): Promise<string[]> {
  const rows = await sql.query<{ grant_id: string }>(
    `update grants set state = 'revoked', revoked_at = now(), settled_at = now(), revoked_by = $5::jsonb
      where workspace_id = $1 and subscriber_id = $2 and entitlement_id = $3 and grant_id <> $4
        and state = 'confirmed' and coalesce(real_end, asked_end) > now()
     returning grant_id`,
    [
      grant.workspaceId,
      grant.subscriberId,
      grant.entitlementId,
      grant.grantId,
      JSON.stringify(grant.revokedBy),
    ],
  );
  return rows.map((row) => row.grant_id);
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

export interface Entitlement {
  readonly id: string;
  readonly lookupKey: string;
  readonly displayName: string | null;
}

/** By name, as an agent looks for it. */
export async function listEntitlements(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<Entitlement[]> {
  const rows = await sql.query<{ id: string; lookup_key: string; display_name: string | null }>(
    `select id, lookup_key, display_name from catalog
      where workspace_id = $1 and project_id = $2 and kind = 'entitlement'
      order by lower(coalesce(display_name, lookup_key)), lookup_key`,
    [workspaceId, projectId],
  );
  return rows.map((row) => ({ id: row.id, lookupKey: row.lookup_key, displayName: row.display_name }));
}
