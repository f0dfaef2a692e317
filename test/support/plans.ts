import type { Sql } from '../../src/database/sql.ts';

/** Tables in which a workspace has as many rows as it has customers or events. */
const LARGE = new Set(['subscribers', 'subscriber_ids', 'events', 'event_deliveries', 'webhooks']);

export interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Cond'?: string;
  Plans?: PlanNode[];
}

/** Scans that read all rows of a workspace, or of its project, in a table. */
export function scansOfAll(node: PlanNode): string[] {
  const { 'Relation Name': table = '', 'Index Name': index = 'itself', 'Index Cond': condition = '' } = node;
  const isScan = LARGE.has(table) && node['Node Type'].endsWith('Scan');
  const isKeyed = /subscriber_id|app_user_id|event_id|contact_id|transaction_id|sequence|due_at/.test(
    condition,
  );
  const found = isScan && !isKeyed ? [`${table} by ${index} ${condition}`] : [];
  return [...found, ...(node.Plans ?? []).flatMap(scansOfAll)];
}

/** Plans of the statements that `work` runs. They are only explained, so `work` gets no rows. */
export async function plansOf(database: Sql, work: (sql: Sql) => Promise<unknown>): Promise<PlanNode[]> {
  const plans: PlanNode[] = [];
  await work({
    async query(text, values) {
      const [row] = await database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `explain (format json) ${text}`,
        values,
      );
      if (row) plans.push(row['QUERY PLAN'][0].Plan);
      return [];
    },
  });
  return plans;
}
