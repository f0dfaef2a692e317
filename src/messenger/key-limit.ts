/** How often one key may ask. */
export interface KeyLimit {
  /** `null`: go on. Otherwise the whole seconds to wait, at least one. */
  take(keyId: string): number | null;
}

/** More keys than this are not told apart any longer: the counts begin anew. */
const MAX_KEYS = 10_000;

/**
 * A token bucket for each key: `burst` requests at once, then `perSecond`. Each process counts for itself,
 * which is enough against a loop that has run away or a key that leaked.
 *
 * @param options.now epoch ms
 */
export function createKeyLimit(options: { burst: number; perSecond: number; now: () => number }): KeyLimit {
  const { burst, perSecond, now } = options;
  const buckets = new Map<string, { left: number; atMs: number }>();
  return {
    take(keyId) {
      const atMs = now();
      const bucket = buckets.get(keyId);
      const refilled = bucket ? bucket.left + (Math.max(0, atMs - bucket.atMs) / 1_000) * perSecond : burst;
      const left = Math.min(burst, refilled);
      if (!bucket && buckets.size >= MAX_KEYS) buckets.clear();
      buckets.set(keyId, { left: left >= 1 ? left - 1 : left, atMs });
      return left >= 1 ? null : Math.max(1, Math.ceil((1 - left) / perSecond));
    },
  };
}
