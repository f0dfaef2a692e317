import { EVENT_FIELDS } from '../subscription/read-event.ts';
import { isRecord } from '../text.ts';

/** What describing an event reads beside its usual fields. */
const DESCRIBED = [
  'adjustments',
  'experiment_id',
  'experiment_variant',
  'paywall_id',
  'paywall_name',
  'product_display_name',
] as const;

const KEPT: ReadonlySet<string> = new Set([...EVENT_FIELDS, ...DESCRIBED]);

/**
 * A stored webhook without what nothing reads any more: customer attributes, experiments, tax details. Timeline,
 * details and state stay exactly what they were.
 */
export function thinPayload(payload: unknown): unknown {
  if (!isRecord(payload) || !isRecord(payload.event)) return payload;
  const kept = Object.entries(payload.event).filter(([name]) => KEPT.has(name));
  return { thinned: true, event: Object.fromEntries(kept) };
}
