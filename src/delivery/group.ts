import { isDatabaseUnavailable } from '../errors.ts';

interface Waiting<T, R> {
  readonly item: T;
  resolve(result: R): void;
  reject(error: unknown): void;
}

/** Items of one statement. */
const MOST = 64;

/**
 * Lets many hands share statements: what comes while one is written forms the next. An item that PostgreSQL
 * refuses fails alone.
 *
 * @param write gives a result for each item, in their order
 * @param lingerMs how long the first item waits for others: 0 for those of the same moment only
 */
export function groupWrites<T, R>(
  write: (items: readonly T[]) => Promise<readonly R[]>,
  lingerMs: number,
): (item: T) => Promise<R> {
  const waiting: Waiting<T, R>[] = [];
  let running = false;
  let lingering = false;

  function begin(): void {
    if (running || lingering) return;
    lingering = true;
    const go = (): void => {
      lingering = false;
      void run();
    };
    if (lingerMs === 0) setImmediate(go);
    else setTimeout(go, lingerMs);
  }

  async function run(): Promise<void> {
    running = true;
    const group = waiting.splice(0, MOST);
    try {
      settle(group, await write(group.map((entry) => entry.item)));
    } catch (error) {
      if (group.length === 1 || isDatabaseUnavailable(error)) for (const entry of group) entry.reject(error);
      else for (const entry of group) await write([entry.item]).then((r) => settle([entry], r), entry.reject);
    } finally {
      running = false;
      if (waiting.length > 0) begin();
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
