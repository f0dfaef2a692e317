import { LRUCache } from 'lru-cache';
import { isDatabaseUnavailable } from '../errors.ts';

type Waiting<T, R> = { readonly item: T } & Pick<PromiseWithResolvers<R>, 'resolve' | 'reject'>;

export interface BatchOptions {
  /** Items of one statement. */
  readonly maxItems: number;
  /** Minimum time between the starts of two statements, ms: what arrives in between shares the next. */
  readonly spacingMs?: number;
  /** Concurrent statements; what arrives in between forms the next. */
  readonly parallel?: number;
  /** Another statement is started in parallel only for at least this many items. */
  readonly minParallelItems?: number;
}

/** One result for each item, in order; nothing for a batch that only writes. */
// biome-ignore lint/suspicious/noConfusingVoidType: what an async function without a result returns
export type BatchResults<R> = readonly R[] | void;

/**
 * Lets callers with the same key share statements, for reading or for writing (group commit). The key is a workspace or
 * a project, so that a statement stays on one tenant's rows. When PostgreSQL refuses a statement, its items are
 * repeated one by one, so that a bad item fails alone.
 *
 * @returns resolves with the item's result when its statement is done and committed
 */
export function createBatcher<T, R = void>(
  options: BatchOptions,
  run: (key: string, items: readonly T[]) => Promise<BatchResults<R>>,
): (key: string, item: T) => Promise<R> {
  const queues = createKeyedCache((key) => createQueue<T, R>(options, (items) => run(key, items)));
  return (key, item) => queues(key)(item);
}

/** More values than are in use at the same time. A queue that is dropped while it runs still finishes. */
const MAX_KEPT = 10_000;

/** One value for each workspace or project, made when it is first needed. */
export function createKeyedCache<T extends object>(make: (key: string) => T): (key: string) => T {
  // Bounded, since anyone can put any workspace into a URL.
  // `max` would reserve room for all entries up front, 0.3 MB for each of the dozen caches of a process.
  const made = new LRUCache<string, T>({ maxSize: MAX_KEPT, sizeCalculation: () => 1 });
  return (key) => {
    const existing = made.get(key) ?? make(key);
    made.set(key, existing);
    return existing;
  };
}

function createQueue<T, R>(
  options: BatchOptions,
  run: (items: readonly T[]) => Promise<BatchResults<R>>,
): (item: T) => Promise<R> {
  const { maxItems, spacingMs = 0, parallel = 1, minParallelItems = 1 } = options;
  const waiting: Waiting<T, R>[] = [];
  let running = 0;
  let isPlanned = false;
  let startedAtMs = Number.NEGATIVE_INFINITY;

  function planNext(): void {
    if (isPlanned || running >= parallel) return;
    if (waiting.length === 0 || (running > 0 && waiting.length < minParallelItems)) return;
    isPlanned = true;
    const waitMs = startedAtMs + spacingMs - performance.now();
    // Waits for the end of this turn of the event loop: calls of the same turn share a statement.
    if (waitMs <= 0) setImmediate(runNext);
    else setTimeout(runNext, waitMs);
  }

  async function runNext(): Promise<void> {
    isPlanned = false;
    startedAtMs = performance.now();
    running += 1;
    const batch = waiting.splice(0, maxItems);
    planNext();
    try {
      await runBatch(batch);
    } catch (error) {
      if (batch.length === 1 || isDatabaseUnavailable(error)) for (const entry of batch) entry.reject(error);
      else for (const entry of batch) await runBatch([entry]).catch(entry.reject);
    } finally {
      running -= 1;
      planNext();
    }
  }

  async function runBatch(batch: readonly Waiting<T, R>[]): Promise<void> {
    const items = batch.map(({ item }) => item);
    const results = (await run(items)) ?? [];
    for (const [index, { resolve }] of batch.entries()) resolve(results[index] as R);
  }

  return (item) => {
    const { promise, ...entry } = Promise.withResolvers<R>();
    waiting.push({ item, ...entry });
    planNext();
    return promise;
  };
}
