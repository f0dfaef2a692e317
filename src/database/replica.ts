import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../errors.ts';
import { repeat, withTimeout } from '../time.ts';
import {
  type Database,
  ignoreErrorsInUse,
  isPooled,
  prepareConnection,
  queryRow,
  type Sql,
  sqlOn,
} from './sql.ts';

/**
 * Where cards and pages are read from: the replica while it answers and is at most `MAX_LAG_MS` behind, else the
 * primary. A statement that fails on the replica is repeated on the primary, so readers do not notice the change.
 */
export interface ReadDatabase extends Sql {
  /**
   * Resolves with a database that has everything committed before this call: the replica once it has caught up, else
   * the primary. When this is awaited after a write, every process that still uses the replica shows the write.
   *
   * @param withinMs how long to wait for the replica; the promise about other processes needs `MAX_CATCH_UP_MS`
   */
  upToDate(withinMs: number): Promise<Sql>;
  /** The replica's state; `null`: none is configured. */
  replica(): { readonly inUse: boolean; readonly lagMs: number } | null;
}

/** A replica that is further behind is not read. */
const MAX_LAG_MS = 500;
const POLL_MS = 250;
/** A replica that does not answer within this is unavailable. */
const ANSWER_TIMEOUT_MS = 1_000;
/**
 * After this long a write is on the replica, or every process has found the replica more than `MAX_LAG_MS` behind
 * and reads from the primary. That takes `MAX_LAG_MS` and two polls, one to sample the primary, one to see the lag.
 */
export const MAX_CATCH_UP_MS = MAX_LAG_MS + 2 * POLL_MS;
const RECHECK_MS = 5;

export function withoutReplica(primary: Database): ReadDatabase {
  return { query: primary.query, upToDate: () => Promise.resolve(primary), replica: () => null };
}

/**
 * Opens the replica's pool and watches how far behind it is.
 *
 * The lag is measured in positions of the write-ahead log, not by the replica's clock: a replica that has lost its
 * primary claims to have replayed everything. While the primary is unavailable the replica is used however old it is:
 * an old card is better than none.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: short functions over the state that they share
export function openReadDatabase(options: {
  primary: Database;
  replicaUrl: string;
  poolSize: number;
  logger: Logger;
}): { readonly database: ReadDatabase; close(): Promise<void> } {
  const { primary, logger } = options;
  const pool = new pg.Pool({
    connectionString: options.replicaUrl,
    max: options.poolSize,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    keepAlive: true,
    onConnect: prepareConnection,
    application_name: 'subscription-timeline-read',
  });
  pool.on('error', () => {});
  ignoreErrorsInUse(pool);
  /** `null` until it is known whether a pooler is between. */
  let replica: Sql | null = null;
  /** Positions in the primary's log (bytes) that the replica has not replayed, with the time of each on the primary. */
  let samples: { readonly atMs: number; readonly position: bigint }[] = [];
  /** `null` until it was checked for the first time. */
  let inUse: boolean | null = null;
  let lagMs = 0;
  const stopping = new AbortController();

  function setInUse(use: boolean, reason: string): void {
    const isChanged = inUse !== use;
    inUse = use;
    if (stopping.signal.aborted || !isChanged) return;
    if (use) logger.info({ lagMs: Math.round(lagMs) }, 'reading from the replica');
    else
      logger.warn({ reason, lagMs: Math.round(lagMs) }, 'reading from the primary: the replica cannot serve');
  }

  async function readPrimary(): Promise<bigint> {
    const { position } = await queryRow<{ position: string }>(primary, POSITION_OF_PRIMARY);
    return BigInt(position);
  }

  async function samplePrimary(): Promise<void> {
    const atMs = performance.now();
    const position = await readPrimary();
    // After a failover the log may be shorter: later positions of the old primary are never replayed.
    samples = samples.filter((sample) => sample.position <= position);
    if (position > (samples.at(-1)?.position ?? -1n)) samples.push({ atMs, position });
  }

  /** The position that the replica has replayed; `null`: the server is not a replica. */
  async function readReplayed(): Promise<bigint | null> {
    replica ??= sqlOn(pool, { prepare: !(await isPooled(pool)) });
    const { position } = await queryRow<{ position: string | null }>(replica, POSITION_OF_REPLICA);
    return position === null ? null : BigInt(position);
  }

  async function poll(): Promise<void> {
    const sampling = samplePrimary().then(
      () => true,
      () => false,
    );
    const primaryAnswers = await withTimeout(sampling, ANSWER_TIMEOUT_MS, () => false);
    try {
      const replayed = await readReplayed();
      if (replayed === null) return setInUse(false, 'DATABASE_READ_URL names no replica');
      samples = samples.filter((sample) => sample.position > replayed);
      lagMs = samples[0] === undefined ? 0 : performance.now() - samples[0].atMs;
      setInUse(!primaryAnswers || lagMs <= MAX_LAG_MS, 'it is too far behind');
    } catch (error) {
      setInUse(false, isDatabaseUnavailable(error) ? 'it does not answer' : String((error as Error).message));
    }
  }

  const polling = repeat(POLL_MS, stopping.signal, poll);

  const database: ReadDatabase = {
    async query(text, values, name) {
      if (!inUse || !replica) return primary.query(text, values, name);
      try {
        return await replica.query(text, values, name);
      } catch (error) {
        if (isDatabaseUnavailable(error)) setInUse(false, 'it does not answer');
        // A read may be repeated; if the statement itself is at fault the primary says so too.
        return primary.query(text, values, name);
      }
    },
    async upToDate(withinMs) {
      const deadlineMs = performance.now() + withinMs;
      const wanted = await readPrimary();
      while (inUse && performance.now() < deadlineMs) {
        const replayed = await readReplayed().catch(() => null);
        if (replayed === null) break;
        if (replayed >= wanted) return database;
        await sleep(RECHECK_MS);
      }
      return primary;
    },
    replica: () => ({ inUse: inUse === true, lagMs }),
  };
  return {
    database,
    async close() {
      stopping.abort();
      await polling;
      // Not awaited: it would wait for a connection that has gone silent.
      pool.end().catch(() => {});
    },
  };
}

const POSITION_OF_PRIMARY = `select (pg_current_wal_lsn() - '0/0'::pg_lsn)::text as position`;
const POSITION_OF_REPLICA = `select case when pg_is_in_recovery()
  then (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::text end as position`;
