import { Gauge, type Registry } from 'prom-client';
import { withTimeout } from '../time.ts';
import type { ReadDatabase } from './replica.ts';
import { type Database, isReadOnly, queryRow, type Sql } from './sql.ts';

/** Scrapes within this time share one read of the database. */
const SHARE_FOR_MS = 15_000;
const MAX_AGE_OF_UP_MS = 1_000;
/** A database that hangs must not hold back the other metrics: a scrape times out after ten seconds. */
const READ_TIMEOUT_MS = 3_000;

/** One number, or one for each value of the gauge's label. */
type GaugeValue = number | Iterable<readonly [string, number]>;
type GaugeValues<Name extends string> = Readonly<Record<Name, GaugeValue>>;
/** The help text of the gauge, with the name of its label if it has one. */
type Help = string | { readonly help: string; readonly label: string };

/** Adds gauges named `subscription_timeline_<name>` that share one read. They are absent while it gives `null`. */
export function addGauges<Name extends string>(
  registry: Registry,
  read: () => GaugeValues<Name> | null | Promise<GaugeValues<Name> | null>,
  gauges: Readonly<Record<Name, Help>>,
): void {
  for (const name in gauges) {
    const help: Help = gauges[name];
    const label = typeof help === 'string' ? null : help.label;
    new Gauge({
      name: `subscription_timeline_${name}`,
      help: typeof help === 'string' ? help : help.help,
      labelNames: label === null ? [] : [label],
      registers: [registry],
      async collect() {
        const found: GaugeValue | undefined = (await read())?.[name];
        if (label !== null) this.reset();
        else if (found === undefined) this.remove();
        if (typeof found === 'number') this.set(found);
        else for (const [key, count] of found ?? []) this.set({ [label ?? '']: key }, count);
      },
    });
  }
}

/** Adds gauges read from the database by one query, the same in every process. */
export function addDatabaseGauges<Name extends string>(
  { registry, database }: { readonly registry: Registry; readonly database: Sql },
  query: (sql: Sql) => Promise<GaugeValues<Name>>,
  gauges: Readonly<Record<Name, Help>>,
): void {
  addGauges(
    registry,
    shareReads(() => query(database)),
    gauges,
  );
}

/**
 * A read that hangs is not repeated in parallel, which would take up the pool's connections one after the other.
 *
 * @returns gives the shared read, which resolves with `null` when it fails or is not ready in time
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
  { database, readDatabase }: { readonly database: Database; readonly readDatabase: ReadDatabase },
): void {
  addDatabaseGauges({ registry, database }, readDatabaseBytes, {
    database_bytes: 'Size of the database on its disk',
  });
  const readOnly = shareReads(() => isReadOnly(database), MAX_AGE_OF_UP_MS);
  addGauges(registry, async () => ({ database_up: Number((await readOnly()) === false) }), {
    database_up: '1: the database answers this process and takes writes; 0: it does not',
  });
  const readConnections = () => {
    const { total, idle, waiting } = database.connections();
    return { database_connections: Object.entries({ busy: total - idle, idle, waiting }) };
  };
  addGauges(registry, readConnections, {
    database_connections: {
      help: 'Connections of this process to the database; waiting: statements that wait for one',
      label: 'state',
    },
  });
  if (readDatabase.replica() === null) return;
  const readReplica = () => {
    const replica = readDatabase.replica();
    return replica && { replica_in_use: Number(replica.inUse), replica_lag_seconds: replica.lagMs / 1_000 };
  };
  addGauges(registry, readReplica, {
    replica_in_use:
      '1: cards and pages are read from the replica; 0: from the primary, because the replica cannot serve',
    replica_lag_seconds: 'How far the replica is behind',
  });
}

/** Includes indexes. On Citus it is the size on the coordinator. */
async function readDatabaseBytes(sql: Sql) {
  const { bytes } = await queryRow<{ bytes: string }>(
    sql,
    'select pg_database_size(current_database()) as bytes',
  );
  return { database_bytes: Number(bytes) };
}
