import type { AddDatabaseGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';

const STATUSES = ['connected', 'disconnected', 'uninstalled'] as const;

export function addWorkspaceMetrics(addDatabaseGauges: AddDatabaseGauges): void {
  addDatabaseGauges(countByStatus, {
    workspaces: {
      help: 'Workspaces by status; disconnected: Intercom rejects the token and deliveries wait',
      label: 'status',
      values: (counted) =>
        STATUSES.map((status) => [status, counted.find((row) => row.status === status)?.workspaces ?? 0]),
    },
    revenuecat_keys_rejected: {
      help: 'RevenueCat projects whose API key is rejected: events arrive, grants and refreshing do not work',
      value: (counted) =>
        counted.reduce((sum, row) => (row.status === 'uninstalled' ? sum : sum + row.rejectedKeys), 0),
    },
  });
}

function countByStatus(sql: Sql) {
  return sql.query<{ status: string; workspaces: number; rejectedKeys: number }>(
    `select w.status, count(*)::integer as workspaces, sum(p.rejected)::integer as "rejectedKeys"
       from workspaces w
      cross join lateral (select count(*) as rejected from projects p
                           where p.workspace_id = w.workspace_id and p.api_key_state = 'rejected') p
      group by w.status`,
  );
}
