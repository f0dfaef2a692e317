import type pg from 'pg';

/**
 * The operator's statements that read all workspaces at once; every other statement is bound to one workspace. On
 * Citus these run on every node. Each is identified by a part of its text.
 */
const CROSS_TENANT: readonly { readonly text: string; readonly why: string }[] = [
  {
    text: `from workspaces w where w.status = 'connected' and (w.not_before`,
    why: 'a worker looks for workspaces with something due',
  },
  {
    text: `from workspaces where last_claimed_at > now() + interval '1 minute'`,
    why: 'a worker looks whether the clock was set back',
  },
  {
    text: `where workspace_id = any(array(select workspace_id from workspaces))`,
    why: 'releases the leases of a worker that ended',
  },
  { text: `select coalesce(pending_reason, 'queued') as code`, why: 'the backlog of all, for the metrics' },
  {
    text: `select code, count(*) as count from ( select coalesce(d.reason, 'queued') as code from (select workspace_id, subscriber_id from subscribers`,
    why: 'the backlog of all, for the metrics',
  },
  {
    text: `select count(*) as count from ( select 1 from event_deliveries where not_sent = 'failed' limit $1)`,
    why: 'the failed events of all, for the metrics',
  },
  {
    text: `select extract(epoch from max(now() - s.due_at))::float8 as seconds from subscribers s`,
    why: 'the delivery lag of all, for the metrics',
  },
  {
    text: `select w.status, count(*)::integer as workspaces, sum(p.rejected)::integer as "rejectedKeys" from workspaces w`,
    why: 'the state of all installations, for the metrics',
  },
  {
    text: `where status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $1)`,
    why: 'the daily erasing of uninstalled workspaces',
  },
  {
    text: `select workspace_id from workspaces order by workspace_id`,
    why: 'the daily encryption of secrets under the newest key',
  },
  {
    text: `select workspace_id from workspaces where status <> 'uninstalled' order by workspace_id`,
    why: 'the daily check of every installation',
  },
  {
    text: `where status = 'disconnected' and disconnected_at < now() - make_interval(days => $1)`,
    why: 'the daily search for abandoned workspaces',
  },
  {
    text: `from workspaces w join imports i on i.workspace_id = w.workspace_id and i.state = 'running'`,
    why: 'a worker looks for imports to resume',
  },
  {
    text: `from workspaces w where w.status <> 'uninstalled' and exists (select 1 from projects p`,
    why: 'the nightly reconciling looks for workspaces that can be reconciled',
  },
  {
    text: `select workspace_id as "workspaceId", action_id as "actionId", false as "isNote" from actions`,
    why: 'a worker looks for grants and notes whose jobs have given up',
  },
  {
    text: `select workspace_id as "workspaceId", bulk_grant_id as "bulkGrantId" from bulk_grants where state = 'draft' and created_at < now()`,
    why: 'the daily deletion of dry runs',
  },
  {
    text: `select workspace_id as "workspaceId", project_id as "projectId" from projects order by workspace_id, project_id`,
    why: 'the daily pruning of the journal',
  },
  {
    text: `select distinct workspace_id as "workspaceId", project_id as "projectId" from (select workspace_id, project_id from webhooks`,
    why: 'a processor looks for projects with unprocessed webhooks',
  },
  {
    text: `from (select received_at from webhooks where processed_at is null limit 10000) u`,
    why: 'the backlog of the journal of all, for the metrics',
  },
  { text: `select 1 from workspaces limit 1`, why: 'the readiness probe' },
];

export function isCrossTenant(text: string): boolean {
  const flat = flatten(text);
  return CROSS_TENANT.some((known) => flat.includes(known.text));
}

export function flatten(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

/** Tables whose rows belong to a workspace: those with a `workspace_id` column. */
export async function tenantTables(client: pg.Client): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attname = 'workspace_id'`,
  );
  return new Set(rows.map((row) => row.name));
}

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  Alias?: string;
  'Index Cond'?: string;
  Filter?: string;
  'Recheck Cond'?: string;
  'Hash Cond'?: string;
  'Merge Cond'?: string;
  'Join Filter'?: string;
  Plans?: PlanNode[];
}

/**
 * Explains how PostgreSQL would read each table: every scan of a table with customers' rows must be bound to one
 * workspace, by a parameter or by a row that is bound itself. Inserts must name the `workspace_id` column.
 *
 * @returns what is wrong; empty: the statement stays within one workspace
 */
export async function findUnbound(
  client: pg.Client,
  tables: ReadonlySet<string>,
  text: string,
): Promise<string[]> {
  if (!/^\s*(select|insert|update|delete|with)\b/i.test(text)) return [];
  if (![...tables].some((table) => new RegExp(`\\b${table}\\b`).test(text))) return [];
  const problems: string[] = [];
  for (const [, table = '', columns = ''] of text.matchAll(/insert into (\w+)\s*\(([^)]*)\)/gi)) {
    if (tables.has(table) && !/\bworkspace_id\b/.test(columns))
      problems.push(`inserts into ${table} without workspace_id`);
  }
  const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
    `explain (generic_plan, verbose, format json) ${text}`,
  );
  const plan = rows[0]?.['QUERY PLAN'][0].Plan;
  if (plan) walk(plan, []);
  return problems;

  function walk(node: PlanNode, joins: readonly string[]): void {
    const table = node['Relation Name'];
    const alias = node.Alias ?? table ?? '';
    if (table !== undefined && tables.has(table) && /Scan/.test(node['Node Type'])) {
      const conditions = [node['Index Cond'], node.Filter, node['Recheck Cond']].join(' ');
      const isBound = /\bworkspace_id = (?!ANY)/.test(conditions) || joins.some((join) => binds(join, alias));
      if (!isBound) problems.push(`reads ${table} (${alias}) of every workspace`);
    }
    const inner = [node['Hash Cond'], node['Merge Cond'], node['Join Filter']].filter(
      (join) => join !== undefined,
    );
    for (const child of node.Plans ?? []) walk(child, [...joins, ...inner]);
  }
}

function binds(join: string, alias: string): boolean {
  return new RegExp(`\\b${alias}\\.workspace_id = (?!ANY)|= ${alias}\\.workspace_id\\b`).test(join);
}
