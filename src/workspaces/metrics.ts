import { Counter, type Registry } from 'prom-client';
import { addDatabaseGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';

export type AppCounters = ReturnType<typeof createAppCounters>;

/** The counters of services and jobs. Labels are codes, never an entitlement, a customer or a workspace. */
export function createAppCounters(registry: Registry) {
  const disagreements = new Counter({
    name: 'subscription_timeline_disagreements_total',
    help: "Subscribers whose events and RevenueCat's API disagree, by what differs",
    labelNames: ['code'] as const,
    registers: [registry],
  });
  const reconciled = new Counter({
    name: 'subscription_timeline_reconciled_total',
    help: 'Subscribers whose change was due and had no event, by the response of RevenueCat',
    labelNames: ['outcome'] as const,
    registers: [registry],
  });
  // A counter has to start at 0: Prometheus sees no increase when the first value it reads is 1.
  for (const outcome of ['corrected', 'confirmed', 'unknown']) reconciled.inc({ outcome }, 0);
  return { disagreements, reconciled };
}

const STATUSES = ['connected', 'disconnected', 'uninstalled'] as const;

export function addWorkspaceMetrics(to: { readonly registry: Registry; readonly database: Sql }): void {
  addDatabaseGauges(to, countByStatus, {
    workspaces: {
      help: 'Workspaces by status; disconnected: Intercom rejects the token and deliveries wait',
      label: 'status',
    },
    revenuecat_keys_rejected:
      'RevenueCat projects whose API key is rejected: events arrive, grants and refreshing do not work',
  });
}

async function countByStatus(sql: Sql) {
  const rows = await sql.query<{ status: string; workspaces: number; rejectedKeys: number }>(
    `select w.status, count(*)::integer as workspaces, sum(p.rejected)::integer as "rejectedKeys"
       from workspaces w
      cross join lateral (select count(*) as rejected from projects p
                           where p.workspace_id = w.workspace_id and p.api_key_state = 'rejected') p
      group by w.status`,
  );
  const counts = new Map(rows.map((row) => [row.status, row.workspaces]));
  return {
    workspaces: STATUSES.map((status) => [status, counts.get(status) ?? 0] as const),
    revenuecat_keys_rejected: rows.reduce((sum, { rejectedKeys }) => sum + rejectedKeys, 0),
  };
}
