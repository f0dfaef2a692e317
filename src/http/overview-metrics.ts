import { Gauge, type Registry } from 'prom-client';
import { readDatabaseBytes } from '../database/size-store.ts';
import type { Sql } from '../database/sql.ts';
import { readBacklog } from '../delivery/backlog.ts';
import { readJobBacklog } from '../jobs/backlog-store.ts';
import { withTimeout } from '../time.ts';
import { countInstallations } from '../workspaces/count-store.ts';

/** Scrapes that come closer together share one look at the database. */
const LOOK_FOR_MS = 15_000;
/** A database that hangs must not keep the other metrics from being told: a scrape is given up after ten seconds. */
const ANSWER_WITHIN_MS = 3_000;

/**
 * What the database tells of all processes together: each of them says the same. Without the database these
 * metrics are absent, all but `database_up`.
 */
export function addOverview(registry: Registry, database: Sql): void {
  const registers = [registry];
  const look = <T>(read: (sql: Sql) => Promise<T>) => shareLooks(() => read(database));
  const bytes = look(readDatabaseBytes);
  const backlog = look(readBacklog);
  const jobs = look(readJobBacklog);
  const installations = look(countInstallations);

  const single = <T>(
    name: string,
    help: string,
    from: () => Promise<T | null>,
    read: (value: T) => number,
  ): void => {
    new Gauge({
      name: `subscription_timeline_${name}`,
      help,
      registers,
      async collect() {
        const value = await from();
        if (value === null) this.remove();
        else this.set(read(value));
      },
    });
  };
  const several = <T>(
    name: string,
    help: string,
    label: string,
    from: () => Promise<T | null>,
    read: (value: T) => Iterable<readonly [string, number]>,
  ): void => {
    new Gauge({
      name: `subscription_timeline_${name}`,
      help,
      labelNames: [label],
      registers,
      async collect() {
        const value = await from();
        this.reset();
        if (value === null) return;
        for (const [key, count] of read(value)) this.set({ [label]: key }, count);
      },
    });
  };

  new Gauge({
    name: 'subscription_timeline_database_up',
    help: '1: the database answers this process; 0: it does not',
    registers,
    async collect() {
      this.set((await bytes()) === null ? 0 : 1);
    },
  });
  single('database_bytes', 'Size of the database on its disk', bytes, (size) => size);
  several(
    'events_pending',
    'Events not yet on their contact, by the code of what they wait for (counted up to 100,000)',
    'code',
    backlog,
    ({ pending }) => pending,
  );
  single(
    'events_failed',
    'Events given up, until they are replayed (counted up to 100,000)',
    backlog,
    ({ failed }) => failed,
  );
  single(
    'delivery_lag_seconds',
    'How long the subscriber that is due the longest has been due',
    backlog,
    ({ lagSeconds }) => lagSeconds,
  );
  several('jobs_waiting', 'Background jobs that are due and not begun, by queue', 'queue', jobs, (queues) =>
    queues.map(({ queue, waiting }) => [queue, waiting] as const),
  );
  several('job_lag_seconds', 'How long the oldest due job of a queue has waited', 'queue', jobs, (queues) =>
    queues.map(({ queue, lagSeconds }) => [queue, lagSeconds] as const),
  );
  several(
    'jobs_given_up',
    'Background jobs whose retries were used up within the last day, by queue',
    'queue',
    jobs,
    (queues) => queues.map(({ queue, givenUp }) => [queue, givenUp] as const),
  );
  several(
    'workspaces',
    'Workspaces by status; disconnected: Intercom refuses the token and deliveries wait',
    'status',
    installations,
    ({ workspaces }) => workspaces,
  );
  single(
    'revenuecat_keys_rejected',
    'RevenueCat projects whose API key is refused: events arrive, grants and refreshing do not work',
    installations,
    ({ rejectedKeys }) => rejectedKeys,
  );
}

/**
 * A read that hangs is not begun again beside itself: it would take one connection of the pool after the other.
 *
 * @returns the value, shared by everyone who asks within `LOOK_FOR_MS`; `null`: it could not be read in time
 */
function shareLooks<T>(read: () => Promise<T>): () => Promise<T | null> {
  let last: { atMs: number; value: Promise<T | null> } | null = null;
  let reading = false;
  return () => {
    if (last === null || performance.now() - last.atMs > LOOK_FOR_MS) {
      if (reading) return Promise.resolve(null);
      reading = true;
      const begun = read().finally(() => {
        reading = false;
      });
      last = {
        atMs: performance.now(),
        value: withTimeout(begun, ANSWER_WITHIN_MS, () => null).catch(() => null),
      };
    }
    return last.value;
  };
}
