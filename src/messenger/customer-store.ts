import type { Sql } from '../database/sql.ts';
import type { Names } from '../subscription/describe-event.ts';
import type { StoredSummary, SubscriberSummary } from '../subscription/summary.ts';

/** The subscribers of connected projects that an app user id names. */
export async function findOwned(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
): Promise<{ subscriberId: string; canRefresh: boolean }[]> {
  const rows = await sql.query<{ subscriber_id: string; can_refresh: boolean }>(
    `select i.subscriber_id, bool_or(p.api_key is not null and p.api_key_state <> 'rejected') as can_refresh
       from subscriber_ids i
       join projects p on p.workspace_id = i.workspace_id and p.project_id = i.project_id
      where i.workspace_id = $1 and i.app_user_id = $2 and p.webhook_auth_hash <> ''
      group by i.subscriber_id`,
    [workspaceId, appUserId],
    'find-owned',
  );
  return rows.map((row) => ({ subscriberId: row.subscriber_id, canRefresh: row.can_refresh }));
}

interface SummaryRow {
  subscriber_id: string;
  app_user_ids: string[];
  version: string;
  format: number | null;
  summary_version: string | null;
  valid_until: Date | null;
  summary: SubscriberSummary | null;
}

export interface KeptSummary {
  readonly subscriberId: string;
  readonly appUserIds: readonly string[];
  /** The subscriber's own, to tell whether the summary is still true. */
  readonly version: number;
  readonly stored: StoredSummary | null;
}

/** The same subscribers with the summaries that are kept of them. */
export async function findSummaries(
  sql: Sql,
  workspaceId: string,
  appUserId: string,
): Promise<KeptSummary[]> {
  const rows = await sql.query<SummaryRow>(
    `select s.subscriber_id, s.version, u.format, u.version as summary_version, u.valid_until, u.summary,
            array(select a.app_user_id from subscriber_ids a
                   where a.workspace_id = s.workspace_id and a.subscriber_id = s.subscriber_id
                   order by a.app_user_id) as app_user_ids
       from subscriber_ids i
       join projects p on p.workspace_id = i.workspace_id and p.project_id = i.project_id
       join subscribers s on s.workspace_id = i.workspace_id and s.subscriber_id = i.subscriber_id
       left join subscriber_summaries u
         on u.workspace_id = s.workspace_id and u.subscriber_id = s.subscriber_id
      where i.workspace_id = $1 and i.app_user_id = $2 and p.webhook_auth_hash <> '' and s.merged_into is null`,
    [workspaceId, appUserId],
    'find-summaries',
  );
  return rows.map((row) => ({
    subscriberId: row.subscriber_id,
    appUserIds: row.app_user_ids,
    version: Number(row.version),
    stored:
      row.format === null || row.summary_version === null || row.valid_until === null || row.summary === null
        ? null
        : {
            format: row.format,
            version: Number(row.summary_version),
            validUntilMs: row.valid_until.getTime(),
            summary: row.summary,
          },
  }));
}

/** `project|event|side` of every event that is a subscriber's own. */
export async function listOwnEventIds(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Set<string>> {
  const rows = await sql.query<{ project_id: string; event_id: string; side: string }>(
    'select project_id, event_id, side from events where workspace_id = $1 and subscriber_id = $2',
    [workspaceId, subscriberId],
    'list-own-event-ids',
  );
  return new Set(rows.map((row) => `${row.project_id}|${row.event_id}|${row.side}`));
}

/** Display names of a project's products and entitlements. */
export async function readNames(sql: Sql, workspaceId: string, projectId: string): Promise<Names> {
  const rows = await sql.query<{ kind: string; id: string; lookup_key: string; display_name: string | null }>(
    'select kind, id, lookup_key, display_name from catalog where workspace_id = $1 and project_id = $2',
    [workspaceId, projectId],
    'read-names',
  );
  const names = new Map<string, string | null>();
  // Events name products by the store's identifier, RevenueCat's API by its own id.
  for (const row of rows) names.set(`${row.kind}|${row.id}`, row.display_name ?? row.lookup_key);
  for (const row of rows) names.set(`${row.kind}|${row.lookup_key}`, row.display_name);
  return {
    product: (id) => names.get(`product|${id}`) ?? null,
    entitlement: (key) => names.get(`entitlement|${key}`) ?? null,
  };
}
