import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Sql } from '../database/sql.ts';
import { type Backlog, readBacklog } from '../delivery/backlog.ts';
import type { DeliveryMetrics } from '../delivery/round.ts';

export interface Metrics {
  readonly registry: Registry;
  received(status: 'accepted' | 'duplicate'): void;
  readonly delivery: DeliveryMetrics;
}

/** Scrapes that come closer together share one look at the database. */
const BACKLOG_FOR_MS = 15_000;

/**
 * Counters of this process and the backlog of all. Labels are codes and outcomes: never a customer's data,
 * never a workspace.
 */
export function createMetrics(sources: {
  database: Sql;
  inHand(): number;
  receiving(): number;
  rateUsed(): number;
}): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const received = new Counter({
    name: 'subscription_timeline_webhooks_total',
    help: 'RevenueCat webhooks stored',
    labelNames: ['status'] as const,
    registers,
  });
  const attempts = new Counter({
    name: 'subscription_timeline_deliveries_total',
    help: 'Attempts to record an event on a contact',
    labelNames: ['outcome', 'code'] as const,
    registers,
  });
  const delay = new Histogram({
    name: 'subscription_timeline_delivery_seconds',
    help: 'From a stored webhook to its event on the contact, for events that were not tried before',
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600],
    registers,
  });
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `subscription_timeline_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('subscribers_in_hand', 'Subscribers that this worker is delivering', sources.inHand);
  gauge('webhooks_uncommitted', 'Webhooks taken and not yet stored', sources.receiving);
  gauge(
    'rate_used_ratio',
    'Share of the running ten-second window used, of the workspace nearest to its limit',
    sources.rateUsed,
  );
  addBacklog(registers, sources.database);
  return {
    registry,
    received: (status) => received.inc({ status }),
    delivery: {
      attempt: (outcome, code) => attempts.inc({ outcome, code }),
      delivered: (afterMs) => delay.observe(Math.max(0, afterMs) / 1_000),
    },
  };
}

function addBacklog(registers: Registry[], database: Sql): void {
  let last: { atMs: number; backlog: Promise<Backlog | null> } | null = null;
  /** Without the database the other metrics are still told. */
  const backlog = (): Promise<Backlog | null> => {
    if (last === null || performance.now() - last.atMs > BACKLOG_FOR_MS) {
      last = { atMs: performance.now(), backlog: readBacklog(database).catch(() => null) };
    }
    return last.backlog;
  };
  new Gauge({
    name: 'subscription_timeline_events_pending',
    help: 'Events not yet on their contact, by the code of what they wait for (counted up to 100,000)',
    labelNames: ['code'] as const,
    registers,
    async collect() {
      this.reset();
      for (const [code, count] of (await backlog())?.pending ?? []) this.set({ code }, count);
    },
  });
  const single = (name: string, help: string, read: (backlog: Backlog) => number): void => {
    new Gauge({
      name: `subscription_timeline_${name}`,
      help,
      registers,
      async collect() {
        const current = await backlog();
        if (current) this.set(read(current));
        else this.remove();
      },
    });
  };
  single(
    'events_failed',
    'Events given up, until they are replayed (counted up to 100,000)',
    (b) => b.failed,
  );
  single(
    'delivery_lag_seconds',
    'How long the subscriber that is due the longest has been due',
    (b) => b.lagSeconds,
  );
}
