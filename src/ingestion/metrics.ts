import { Counter, type Registry } from 'prom-client';
import { addDatabaseGauges, addGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';
import type { ReceiptStatus } from './journal.ts';

/** @returns a function that counts one stored webhook */
export function createReceiverMetrics(
  registry: Registry,
  uncommitted: () => number,
): (status: ReceiptStatus) => void {
  const received = new Counter({
    name: 'subscription_timeline_webhooks_total',
    help: 'RevenueCat webhooks stored',
    labelNames: ['status'] as const,
    registers: [registry],
  });
  // Starts at zero: a counter that first appears with its first count shows no increase to alerts.
  for (const status of ['accepted', 'duplicate']) received.inc({ status }, 0);
  addGauges(registry, () => ({ webhooks_uncommitted: uncommitted() }), {
    webhooks_uncommitted: 'Webhooks received and not yet stored',
  });
  return (status) => received.inc({ status });
}

export function addJournalMetrics(to: { readonly registry: Registry; readonly database: Sql }): void {
  addDatabaseGauges(to, readJournalBacklog, {
    webhooks_unprocessed: 'Webhooks stored and not yet interpreted',
    webhooks_unprocessed_seconds: 'Age of the oldest webhook that is not yet interpreted',
    webhooks_failed: 'Webhooks that could not be interpreted',
  });
}

/** Covers all workspaces; counts up to 10,000. */
export async function readJournalBacklog(sql: Sql) {
  const [row] = await sql.query<{ unprocessed: number; lag: number | null; failed: number }>(
    `select (select count(*)::integer from (select 1 from webhooks where error is not null limit 10000) f) as failed,
            count(*)::integer as unprocessed, extract(epoch from now() - min(received_at))::float8 as lag
       from (select received_at from webhooks where processed_at is null limit 10000) u`,
  );
  return {
    webhooks_unprocessed: row?.unprocessed ?? 0,
    webhooks_unprocessed_seconds: Math.max(0, row?.lag ?? 0),
    webhooks_failed: row?.failed ?? 0,
  };
}
