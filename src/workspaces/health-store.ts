import { notifyDelivery } from '../database/notify.ts';
import type { Sql } from '../database/sql.ts';
import type { Refusal, RefusedWork } from './store.ts';

/**
 * Records that Intercom refuses a kind of work because a permission or a plan is missing.
 *
 * @returns whether that is new
 */
export async function recordRefusal(
  sql: Sql,
  workspaceId: string,
  work: RefusedWork,
  refusal: Omit<Refusal, 'since'>,
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set refusals = jsonb_set(refusals, array[$2::text], jsonb_build_object(
              'code', $3::text, 'message', $4::text,
              'since', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
      where workspace_id = $1 and (refusals -> $2 ->> 'code') is distinct from $3
     returning 1`,
    [workspaceId, work, refusal.code, refusal.message.slice(0, 500)],
  );
  return rows.length > 0;
}

/** Intercom accepts that kind of work again. @returns whether it was refused before */
export async function clearRefusal(sql: Sql, workspaceId: string, work: RefusedWork): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set refusals = refusals - $2::text where workspace_id = $1 and refusals ? $2 returning 1`,
    [workspaceId, work],
  );
  return rows.length > 0;
}

/** Retries refused events immediately instead of by their schedule: the permission or the plan has changed. */
export async function retryRefused(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update event_deliveries set next_try_at = null
      where workspace_id = $1 and delivered_at is null and not_sent is null
        and reason in ('intercom_scope_missing', 'intercom_plan_restricted')
        and subscriber_id in (select subscriber_id from subscribers where workspace_id = $1 and pending_events > 0)`,
    [workspaceId],
  );
  await sql.query(
    `update subscribers set due_at = now(), attempts = 0
      where workspace_id = $1 and due_at > now() and attempts > 0 and not waiting`,
    [workspaceId],
  );
  await notifyDelivery(sql, workspaceId);
}

export async function markChecked(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query('update workspaces set checked_at = now() where workspace_id = $1', [workspaceId]);
}

/** The health state that was last reported to Intercom; `null`: none since the installation. */
export async function readReportedHealth(sql: Sql, workspaceId: string): Promise<unknown> {
  const [row] = await sql.query<{ health_told: unknown }>(
    'select health_told from workspaces where workspace_id = $1',
    [workspaceId],
  );
  return row?.health_told ?? null;
}

export async function setReportedHealth(sql: Sql, workspaceId: string, health: unknown): Promise<void> {
  await sql.query('update workspaces set health_told = $2 where workspace_id = $1', [
    workspaceId,
    JSON.stringify(health),
  ]);
}
