import { Gauge, type Registry } from 'prom-client';
import { withTimeout } from '../time.ts';
import type { ReadDatabase } from './replica.ts';
import { type Database, isReadOnly, type Sql } from './sql.ts';

/** Scrapes that come closer together share one read of the database. */
const SHARE_FOR_MS = 15_000;
const MAX_AGE_OF_UP_MS = 1_000;
/** A database that hangs must not hold back the other metrics: a scrape times out after ten seconds. */
const READ_TIMEOUT_MS = 3_000;

/** One number, or one for each value of a label. */
type GaugeOf<T> = { readonly help: string } & (
  | { value(read: T): number }
  | { readonly label: string; values(read: T): Iterable<readonly [string, number]> }
);

/** Adds gauges that share one read: `subscription_timeline_<name>`. While it gives `null` they are absent. */
export function addGauges<T>(
  registry: Registry,
  read: () => T | null | Promise<T | null>,
  gauges: Readonly<Record<string, GaugeOf<T>>>,
): void {
  for (const [name, gauge] of Object.entries(gauges)) {
    new Gauge({
      name: `subscription_timeline_${name}`,
      help: gauge.help,
      labelNames: 'label' in gauge ? [gauge.label] : [],
      registers: [registry],
      async collect() {
        const found = await read();
        if ('value' in gauge) {
          if (found === null) this.remove();
          else this.set(gauge.value(found));
        } else {
          this.reset();
          for (const [key, count] of found === null ? [] : gauge.values(found))
            this.set({ [gauge.label]: key }, count);
        }
      },
    });
  }
}

/** Adds gauges read from the database by one query, the same in every process. */
export type AddDatabaseGauges = <T>(
  query: (sql: Sql) => Promise<T>,
  gauges: Readonly<Record<string, GaugeOf<T>>>,
) => void;

export function createDatabaseGauges(registry: Registry, database: Sql): AddDatabaseGauges {
  return (query, gauges) =>
    addGauges(
      registry,
      shareReads(() => query(database)),
      gauges,
    );
}

/**
 * A read that hangs is not started again in parallel: it would take one connection of the pool after the other.
 *
 * @returns the read that several share; `null`: not in time
 */
function shareReads<T>(read: () => Promise<T>, shareForMs = SHARE_FOR_MS): () => Promise<T | null> {
  let last: { atMs: number; value: Promise<T | null> } | null = null;
  let isReading = false;
  return () => {
    if (last === null || performance.now() - last.atMs > shareForMs) {
      if (isReading) return Promise.resolve(null);
      isReading = true;
      const started = read().finally(() => {
        isReading = false;
      });
      last = {
        atMs: performance.now(),
        value: withTimeout(started, READ_TIMEOUT_MS, () => null).catch(() => null),
      };
    }
    return last.value;
  };
}

/** Size and availability of the database, and this process's connections to it and its replica. */
export function addDatabaseMetrics(
  registry: Registry,
  addDatabaseGauges: AddDatabaseGauges,
  { database, readDatabase }: { database: Database; readDatabase: ReadDatabase },
): void {
  addDatabaseGauges(readDatabaseBytes, {
    database_bytes: { help: 'Size of the database on its disk', value: (bytes) => bytes },
  });
  const readOnly = shareReads(() => isReadOnly(database), MAX_AGE_OF_UP_MS);
  addGauges(registry, async () => (await readOnly()) === false, {
    database_up: {
      help: '1: the database answers this process and takes writes; 0: it does not',
      value: Number,
    },
  });
  addGauges(registry, database.connections, {
    database_connections: {
      help: 'Connections of this process to the database; waiting: statements that wait for one',
      label: 'state',
      values: ({ total, idle, waiting }) => Object.entries({ busy: total - idle, idle, waiting }),
    },
  });
  if (readDatabase.replica() === null) return;
  addGauges(registry, readDatabase.replica, {
    replica_in_use: {
      help: '1: cards and pages are read from the replica; 0: from the primary, because the replica cannot serve',
      value: ({ inUse }) => Number(inUse),
    },
    replica_lag_seconds: {
      help: 'How far the replica is behind',
      value: ({ lagMs }) => lagMs / 1_000,
    },
  });
}

/** Indexes included (bytes). On Citus: of the coordinator. */
async function readDatabaseBytes(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ bytes: string }>('select pg_database_size(current_database()) as bytes');
  return Number(row?.bytes ?? 0);
}
