import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Sql } from '../database/sql.ts';
import type { DeliveryMetrics } from '../delivery/attempt.ts';
import { addOverview } from './overview-metrics.ts';

export interface Metrics {
  readonly registry: Registry;
  received(status: 'accepted' | 'duplicate'): void;
  readonly delivery: DeliveryMetrics;
}

/**
 * Counters of this process, and what the database tells of all. Labels are codes and outcomes: never a customer's
 * data, never a workspace.
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
  addOverview(registry, sources.database);
  // A counter that first appears with its first count shows no increase: what alarms watch begins at nought.
  for (const status of ['accepted', 'duplicate']) received.inc({ status }, 0);
  attempts.inc({ outcome: 'delivered', code: 'ok' }, 0);
  return {
    registry,
    received: (status) => received.inc({ status }),
    delivery: {
      attempt: (outcome, code) => attempts.inc({ outcome, code }),
      delivered: (afterMs) => delay.observe(Math.max(0, afterMs) / 1_000),
    },
  };
}
