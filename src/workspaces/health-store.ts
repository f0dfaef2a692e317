import type { Sql } from '../database/sql.ts';
import type { Refusal, RefusedWork } from './store.ts';

/**
 * Notes that Intercom refuses a kind of work for want of a permission or of a plan.
 *
 * @returns whether that is new
 */
export async function noteRefusal(
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

/** Intercom takes that kind of work again. @returns whether it was refused before */
export async function forgetRefusal(sql: Sql, workspaceId: string, work: RefusedWork): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set refusals = refusals - $2::text where workspace_id = $1 and refusals ? $2 returning 1`,
    [workspaceId, work],
  );
  return rows.length > 0;
}

/** What was refused is tried again now and not by its schedule: the permission or the plan is another one. */
export async function resumeRefused(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update events set next_try_at = null
      where workspace_id = $1 and delivery = 'pending'
        and reason in ('intercom_scope_missing', 'intercom_plan_restricted')`,
    [workspaceId],
  );
  await sql.query(
    `update subscribers set due_at = now(), attempts = 0
      where workspace_id = $1 and due_at > now() and attempts > 0 and not waiting`,
    [workspaceId],
  );
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}

export async function markChecked(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query('update workspaces set checked_at = now() where workspace_id = $1', [workspaceId]);
}

/** @param scopes those that the project's key lacks */
export async function setMissingScopes(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  scopes: readonly string[],
): Promise<void> {
  await sql.query(`update projects set missing_scopes = $3 where workspace_id = $1 and project_id = $2`, [
    workspaceId,
    projectId,
    JSON.stringify(scopes),
  ]);
}

/** What Intercom was last told of the installation; `null`: nothing since it was made. */
export async function readHealthTold(sql: Sql, workspaceId: string): Promise<unknown> {
  const [row] = await sql.query<{ health_told: unknown }>(
    'select health_told from workspaces where workspace_id = $1',
    [workspaceId],
  );
  return row?.health_told ?? null;
}

export async function setHealthTold(sql: Sql, workspaceId: string, health: unknown): Promise<void> {
  await sql.query('update workspaces set health_told = $2 where workspace_id = $1', [
    workspaceId,
    JSON.stringify(health),
  ]);
}

/** Those whose installations are looked at once a day. */
export async function listInstalled(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces where status <> 'uninstalled' order by workspace_id`,
  );
  return rows.map((row) => row.workspace_id);
}

/** Disconnected so long ago (days) that nobody can be expected to come back. */
export async function listAbandoned(sql: Sql, afterDays: number): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces
      where status = 'disconnected' and disconnected_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
  return rows.map((row) => row.workspace_id);
}
