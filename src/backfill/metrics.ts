import { Counter, type Registry } from 'prom-client';

export interface ImportMetrics {
  /** The API and the events disagree on a subscriber; codes of `compareWithSnapshot`. */
  disagreement(codes: readonly string[]): void;
  /** Subscribers of a reconciliation pass, by outcome. */
  reconciled(outcome: string, count: number): void;
}

/** Labels are codes: never an entitlement, a customer or a workspace. */
export function createImportMetrics(registry: Registry): ImportMetrics {
  const registers = [registry];
  const disagreements = new Counter({
    name: 'subscription_timeline_disagreements_total',
    help: "Subscribers whose events and RevenueCat's API disagree, by what differs",
    labelNames: ['code'] as const,
    registers,
  });
  const reconciled = new Counter({
    name: 'subscription_timeline_reconciled_total',
    help: 'Subscribers whose change was due and had no event, by the response of RevenueCat',
    labelNames: ['outcome'] as const,
    registers,
  });
  // A counter that first appears with its first count shows no increase.
  for (const outcome of ['corrected', 'confirmed', 'unknown']) reconciled.inc({ outcome }, 0);
  return {
    disagreement(codes) {
      const kinds = new Set(codes.map((code) => code.split(':')[0] ?? code));
      for (const code of kinds) disagreements.inc({ code });
    },
    reconciled(outcome, count) {
      if (count > 0) reconciled.inc({ outcome }, count);
    },
  };
}
