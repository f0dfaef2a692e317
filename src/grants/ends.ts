/** Stands for "never": what RevenueCat calls `null`, in a column that holds a time. 2200-01-01 UTC. */
export const FOREVER_MS = Date.UTC(2200, 0, 1);

/** From here on an end stands for none: clients send 2099 for a lifetime, RevenueCat has kept 200 years. */
const NEVER_FROM_MS = Date.UTC(2098, 10, 1);

/** RevenueCat may keep whole seconds. */
const SAME_MOMENT_MS = 60_000;

export function isForever(endMs: number): boolean {
  return endMs >= NEVER_FROM_MS;
}

/** Whether two ends are one; `null`: there is none of the kind. */
export function isSameEnd(oneMs: number | null, otherMs: number | null): boolean {
  if (oneMs === null || otherMs === null) return oneMs === otherMs;
  return Math.abs(oneMs - otherMs) <= SAME_MOMENT_MS || (isForever(oneMs) && isForever(otherMs));
}
