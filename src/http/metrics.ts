import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

export interface Metrics {
  readonly registry: Registry;
  received(status: 'accepted' | 'duplicate'): void;
  delivery(outcome: 'delivered' | 'failed' | 'retried', code: string): void;
}

/** Counters of this process. Labels are codes and outcomes: never a customer's data, never a workspace. */
export function createMetrics(gauges: { inHand(): number; receiving(): number }): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const received = new Counter({
    name: 'subscription_timeline_webhooks_total',
    help: 'RevenueCat webhooks stored',
    labelNames: ['status'] as const,
    registers: [registry],
  });
  const delivered = new Counter({
    name: 'subscription_timeline_deliveries_total',
    help: 'Attempts to record an event on a contact',
    labelNames: ['outcome', 'code'] as const,
    registers: [registry],
  });
  new Gauge({
    name: 'subscription_timeline_subscribers_in_hand',
    help: 'Subscribers that this worker is delivering',
    registers: [registry],
    collect() {
      this.set(gauges.inHand());
    },
  });
  new Gauge({
    name: 'subscription_timeline_webhooks_uncommitted',
    help: 'Webhooks taken and not yet stored',
    registers: [registry],
    collect() {
      this.set(gauges.receiving());
    },
  });
  return {
    registry,
    received: (status) => received.inc({ status }),
    delivery: (outcome, code) => delivered.inc({ outcome, code }),
  };
}
