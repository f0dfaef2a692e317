import type { Sql } from '../database/sql.ts';

/** Workspaces whose projects can be asked. */
export async function listReconcilable(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select w.workspace_id from workspaces w
      where w.status <> 'uninstalled'
        and exists (select 1 from projects p
                     where p.workspace_id = w.workspace_id and p.api_key is not null
                       and p.api_key_state <> 'rejected')
      order by w.workspace_id`,
  );
  return rows.map((row) => row.workspace_id);
}

export interface UnmarkedSubscriber {
  readonly subscriberId: string;
  readonly version: string;
  readonly hasEvents: boolean;
}

/** Subscribers that have changed since they were last looked at, by id, after this one. */
export async function listUnmarked(
  sql: Sql,
  workspaceId: string,
  after: string,
  limit: number,
): Promise<UnmarkedSubscriber[]> {
  const rows = await sql.query<{ subscriber_id: string; version: string; has_events: boolean }>(
    `select s.subscriber_id, s.version, s.first_event_at_ms is not null as has_events
       from subscribers s
       left join reconcile_marks m on m.workspace_id = s.workspace_id and m.subscriber_id = s.subscriber_id
      where s.workspace_id = $1 and s.subscriber_id > $2 and s.merged_into is null
        and m.version is distinct from s.version
        and exists (select 1 from projects p
                     where p.workspace_id = $1 and p.project_id = s.project_id and p.api_key is not null)
      order by s.subscriber_id
      limit $3`,
    [workspaceId, after, limit],
    'list-unmarked',
  );
  return rows.map((row) => ({
    subscriberId: row.subscriber_id,
    version: row.version,
    hasEvents: row.has_events,
  }));
}

/** Notes when each should have changed (epoch ms; `null`: nothing is expected of it). */
export async function saveMarks(
  sql: Sql,
  workspaceId: string,
  marks: readonly { subscriberId: string; version: string; checkAtMs: number | null }[],
): Promise<void> {
  await sql.query(
    `insert into reconcile_marks (workspace_id, subscriber_id, version, check_at)
     select $1, t.subscriber_id, t.version, to_timestamp(t.check_at / 1000.0)
       from unnest($2::uuid[], $3::bigint[], $4::bigint[]) as t (subscriber_id, version, check_at)
     on conflict (workspace_id, subscriber_id)
     do update set version = excluded.version, check_at = excluded.check_at`,
    [
      workspaceId,
      marks.map(({ subscriberId }) => subscriberId),
      marks.map(({ version }) => version),
      marks.map(({ checkAtMs }) => checkAtMs),
    ],
    'save-marks',
  );
}

/** Subscribers whose change is overdue, longest first; those that changed since they were marked are left out. */
export async function listOverdue(
  sql: Sql,
  workspaceId: string,
  nowMs: number,
  limit: number,
): Promise<string[]> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `select m.subscriber_id
       from reconcile_marks m
       join subscribers s on s.workspace_id = m.workspace_id and s.subscriber_id = m.subscriber_id
                         and s.merged_into is null and s.version = m.version
       join projects p on p.workspace_id = s.workspace_id and p.project_id = s.project_id
                      and p.api_key is not null and p.api_key_state <> 'rejected'
      where m.workspace_id = $1 and m.check_at <= to_timestamp($2 / 1000.0)
      order by m.check_at
      limit $3`,
    [workspaceId, nowMs, limit],
    'list-overdue',
  );
  return rows.map((row) => row.subscriber_id);
}

/** Does not expect anything of a subscriber until it changes. */
export async function dropMark(sql: Sql, workspaceId: string, subscriberId: string): Promise<void> {
  await sql.query(
    `update reconcile_marks m set check_at = null, version = s.version
       from subscribers s
      where m.workspace_id = $1 and m.subscriber_id = $2
        and s.workspace_id = $1 and s.subscriber_id = $2`,
    [workspaceId, subscriberId],
  );
}
