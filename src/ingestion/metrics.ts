import { Counter, type Registry } from 'prom-client';
import { type AddDatabaseGauges, addGauges } from '../database/metrics.ts';
import { type ReceiptStatus, readJournalBacklog } from './journal.ts';

/** @returns counts one stored webhook */
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
  // A counter that first appears with its first count shows no increase: what alerts watch starts at zero.
  for (const status of ['accepted', 'duplicate']) received.inc({ status }, 0);
  addGauges(registry, uncommitted, {
    webhooks_uncommitted: { help: 'Webhooks received and not yet stored', value: (count) => count },
  });
  return (status) => received.inc({ status });
}

/** What every process reads from the journal; counted up to 10,000. */
export function addJournalMetrics(addDatabaseGauges: AddDatabaseGauges): void {
  addDatabaseGauges(readJournalBacklog, {
    webhooks_unprocessed: {
      help: 'Webhooks stored and not yet interpreted',
      value: ({ unprocessed }) => unprocessed,
    },
    webhooks_unprocessed_seconds: {
      help: 'Age of the oldest webhook that is not yet interpreted',
      value: ({ lagSeconds }) => lagSeconds,
    },
    webhooks_failed: { help: 'Webhooks that could not be interpreted', value: ({ failed }) => failed },
  });
}
