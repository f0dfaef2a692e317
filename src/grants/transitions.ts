import { CLOCK } from '../database/clock.ts';
import type { Sql } from '../database/sql.ts';
import { type GrantRow, toGrant } from './row.ts';
import type { Grant, GrantState, Teammate } from './types.ts';

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
            settled_at = case when $4 in ('requested', 'revoking') then settled_at else clock.at end,
            real_end = coalesce(to_timestamp($6 / 1000.0), real_end),
            kept = coalesce($7, kept),
            asked_end = coalesce(to_timestamp($8 / 1000.0), asked_end),
            before_end = case when $8::float8 is null then before_end else to_timestamp($9 / 1000.0) end,
            decided_by = coalesce($10::jsonb, decided_by),
            revoked_by = coalesce($11::jsonb, revoked_by),
            revoke_reason = coalesce($12, revoke_reason),
            revoke_asked_at = case when $4 = 'revoking' then clock.at else revoke_asked_at end,
            revoked_at = case when $4 = 'revoked' then clock.at else revoked_at end
       from ${CLOCK}
      where workspace_id = $1 and grant_id = $2 and state = any($3)
     returning grants.*`,
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
export async function claimForRequest(
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

export async function recordResponse(sql: Sql, grant: Pick<Grant, 'workspaceId' | 'grantId'>): Promise<void> {
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
