import { Counter, Gauge, type Registry } from 'prom-client';

/** @returns counts one stored webhook */
export function createReceiverMetrics(
  registry: Registry,
  uncommitted: () => number,
): (status: 'accepted' | 'duplicate') => void {
  const received = new Counter({
    name: 'subscription_timeline_webhooks_total',
    help: 'RevenueCat webhooks stored',
    labelNames: ['status'] as const,
    registers: [registry],
  });
  // A counter that first appears with its first count shows no increase: what alerts watch starts at zero.
  for (const status of ['accepted', 'duplicate']) received.inc({ status }, 0);
  new Gauge({
    name: 'subscription_timeline_webhooks_uncommitted',
    help: 'Webhooks received and not yet stored',
    registers: [registry],
    collect() {
      this.set(uncommitted());
    },
  });
  return (status) => received.inc({ status });
}
