import { isDatabaseUnavailable } from '../errors.ts';

interface Waiting<T, R> {
  readonly item: T;
  resolve(result: R): void;
  reject(error: unknown): void;
}

export interface GroupOptions {
  /** Items of one statement. */
  readonly most: number;
  /** Minimum time between the starts of two statements, ms: what arrives in between shares the next. */
  readonly spacingMs?: number;
  /** Concurrent statements; what arrives in between forms the next. */
  readonly parallel?: number;
  /** Another statement is started in parallel only for at least this many items. */
  readonly worthAnother?: number;
}

/**
 * Lets many callers share statements, for reading or for writing (group commit). An item that PostgreSQL refuses
 * fails alone: the others of its statement are then repeated one by one.
 *
 * @param run returns a result for each item, in their order
 * @returns resolves with the item's result when its statement is done and committed
 */
export function createBatcher<T, R>(
  run: (items: readonly T[]) => Promise<readonly R[]>,
  options: GroupOptions,
): (item: T) => Promise<R> {
  const { most, spacingMs = 0, parallel = 1, worthAnother = 1 } = options;
  const waiting: Waiting<T, R>[] = [];
  let running = 0;
  let isPlanned = false;
  let begunAtMs = Number.NEGATIVE_INFINITY;

  function begin(): void {
    if (isPlanned || running >= parallel) return;
    if (waiting.length === 0 || (running > 0 && waiting.length < worthAnother)) return;
    isPlanned = true;
    const waitMs = begunAtMs + spacingMs - performance.now();
    // Not within this turn of the event loop: calls of the same turn share a statement.
    if (waitMs <= 0) setImmediate(next);
    else setTimeout(next, waitMs);
  }

  async function next(): Promise<void> {
    isPlanned = false;
    begunAtMs = performance.now();
    running += 1;
    const group = waiting.splice(0, most);
    begin();
    try {
      settle(group, await run(group.map((entry) => entry.item)));
    } catch (error) {
      if (group.length === 1 || isDatabaseUnavailable(error)) for (const entry of group) entry.reject(error);
      else for (const entry of group) await run([entry.item]).then((r) => settle([entry], r), entry.reject);
    } finally {
      running -= 1;
      begin();
    }
  }

  function settle(group: readonly Waiting<T, R>[], results: readonly R[]): void {
    for (const [index, entry] of group.entries()) entry.resolve(results[index] as R);
  }

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      begin();
    });
}

/** One of each for every workspace (and project): statements stay on one tenant's rows. */
export function keyed<Keys extends string[], T>(make: (...keys: Keys) => T): (...keys: Keys) => T {
  const made = new Map<string, T>();
  return (...keys) => {
    const key = keys.join('\n');
    const existing = made.get(key) ?? make(...keys);
    made.set(key, existing);
    return existing;
  };
}
