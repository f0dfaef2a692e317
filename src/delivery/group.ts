import { isDatabaseUnavailable } from '../errors.ts';

interface Waiting<T, R> {
  readonly item: T;
  resolve(result: R): void;
  reject(error: unknown): void;
}

/**
 * Lets many hands share statements: what comes while one is written forms the next, and a lone piece is written
 * at once. An item that PostgreSQL refuses fails alone.
 *
 * @param write gives a result for each item, in their order
 * @param most items of one statement
 */
export function groupWrites<T, R>(
  write: (items: readonly T[]) => Promise<readonly R[]>,
  most = 64,
): (item: T) => Promise<R> {
  const waiting: Waiting<T, R>[] = [];
  let running = false;

  async function run(): Promise<void> {
    if (running || waiting.length === 0) return;
    running = true;
    const group = waiting.splice(0, most);
    try {
      settle(group, await write(group.map((entry) => entry.item)));
    } catch (error) {
      if (group.length === 1 || isDatabaseUnavailable(error)) for (const entry of group) entry.reject(error);
      else for (const entry of group) await write([entry.item]).then((r) => settle([entry], r), entry.reject);
    } finally {
      running = false;
      void run();
    }
  }

  function settle(group: readonly Waiting<T, R>[], results: readonly R[]): void {
    for (const [index, entry] of group.entries()) entry.resolve(results[index] as R);
  }

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      void run();
    });
}
