import type { AddGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';

export function addWorkspaceMetrics(addGauges: AddGauges): void {
  addGauges(countInstallations, {
    workspaces: {
      help: 'Workspaces by status; disconnected: Intercom rejects the token and deliveries wait',
      label: 'status',
      values: ({ workspaces }) => workspaces,
    },
    revenuecat_keys_rejected: {
      help: 'RevenueCat projects whose API key is rejected: events arrive, grants and refreshing do not work',
      value: ({ rejectedKeys }) => rejectedKeys,
    },
  });
}

interface Installations {
  /** Workspaces by status: `connected`, `disconnected`, `uninstalled`. */
  readonly workspaces: ReadonlyMap<string, number>;
  /** RevenueCat projects whose key is rejected, of workspaces that have the app. */
  readonly rejectedKeys: number;
}

async function countInstallations(sql: Sql): Promise<Installations> {
  const rows = await sql.query<{ status: string; count: string; rejected: string }>(
    `select w.status, count(*) as count, sum(p.rejected) as rejected
       from workspaces w
      cross join lateral (select count(*) as rejected from projects p
                           where p.workspace_id = w.workspace_id and p.api_key_state = 'rejected') p
      group by w.status`,
  );
  const workspaces = new Map([
    ['connected', 0],
    ['disconnected', 0],
    ['uninstalled', 0],
  ]);
  let rejectedKeys = 0;
  for (const { status, count, rejected } of rows) {
    workspaces.set(status, Number(count));
    if (status !== 'uninstalled') rejectedKeys += Number(rejected);
  }
  return { workspaces, rejectedKeys };
}
