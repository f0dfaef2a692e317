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

/**
 * Adds gauges read from the database by one query, the same in every process: `subscription_timeline_<name>`. While it
 * cannot be read they are absent.
 */
export type AddGauges = <T>(
  query: (sql: Sql) => Promise<T>,
  gauges: Readonly<Record<string, GaugeOf<T>>>,
) => void;

export function createDatabaseGauges(registry: Registry, database: Sql): AddGauges {
  return (query, gauges) => {
    const shared = shareReads(() => query(database));
    for (const [name, gauge] of Object.entries(gauges)) {
      new Gauge({
        name: `subscription_timeline_${name}`,
        help: gauge.help,
        labelNames: 'label' in gauge ? [gauge.label] : [],
        registers: [registry],
        async collect() {
          const read = await shared();
          if ('value' in gauge) {
            if (read === null) this.remove();
            else this.set(gauge.value(read));
          } else {
            this.reset();
            for (const [key, count] of read === null ? [] : gauge.values(read))
              this.set({ [gauge.label]: key }, count);
          }
        },
      });
    }
  };
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
  addGauges: AddGauges,
  sources: { database: Database; readDatabase: ReadDatabase },
): void {
  const registers = [registry];
  addGauges(readDatabaseBytes, {
    database_bytes: { help: 'Size of the database on its disk', value: (bytes) => bytes },
  });
  const readOnly = shareReads(() => isReadOnly(sources.database), MAX_AGE_OF_UP_MS);
  new Gauge({
    name: 'subscription_timeline_database_up',
    help: '1: the database answers this process and takes writes; 0: it does not',
    registers,
    async collect() {
      this.set((await readOnly()) === false ? 1 : 0);
    },
  });
  new Gauge({
    name: 'subscription_timeline_database_connections',
    help: 'Connections of this process to the database; waiting: statements that wait for one',
    labelNames: ['state'] as const,
    registers,
    collect() {
      const { total, idle, waiting } = sources.database.connections();
      this.set({ state: 'busy' }, total - idle);
      this.set({ state: 'idle' }, idle);
      this.set({ state: 'waiting' }, waiting);
    },
  });
  if (sources.readDatabase.replica() !== null) addReplicaMetrics(registers, sources.readDatabase);
}

/** Indexes included (bytes). On Citus: of the coordinator. */
async function readDatabaseBytes(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ bytes: string }>('select pg_database_size(current_database()) as bytes');
  return Number(row?.bytes ?? 0);
}

function addReplicaMetrics(registers: Registry[], readDatabase: ReadDatabase): void {
  new Gauge({
    name: 'subscription_timeline_replica_in_use',
    help: '1: cards and pages are read from the replica; 0: from the primary, because the replica cannot serve',
    registers,
    collect() {
      this.set(readDatabase.replica()?.inUse ? 1 : 0);
    },
  });
  new Gauge({
    name: 'subscription_timeline_replica_lag_seconds',
    help: 'How far the replica is behind',
    registers,
    collect() {
      this.set((readDatabase.replica()?.lagMs ?? 0) / 1_000);
    },
  });
}
