import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { createListener, DELIVERY_CHANNEL, type Listener } from '../database/notify.ts';
import type { Database, Sql } from '../database/sql.ts';

/** Any number that nothing else in this database uses for advisory locks of two integers. */
const WORKER_LOCK = 719_040_251;

/** The lock that a worker holds while it is connected, from the first 32 bits of its id. */
const lockOf = (column: string): string => `('x' || substr(${column}::text, 1, 8))::bit(32)`;

/** Registers a worker whose leases end with this connection: one of its own, not of a pool. */
export async function registerWorker(sql: Sql, workerId: string): Promise<void> {
  await sql.query(`select pg_advisory_lock($1, ${lockOf('$2')}::integer)`, [WORKER_LOCK, workerId]);
  await sql.query(`insert into workers (worker_id) values ($1)`, [workerId]);
}

/**
 * Ends the leases of workers that are no longer connected. Leased subscribers are still due, so the index on what
 * is due finds them; it is searched once for each worker that ended.
 *
 * @returns number of subscribers released
 */
export async function releaseExpiredLeases(database: Database): Promise<number> {
  const ended = await database.query<{ worker_id: string }>(
    `select w.worker_id from workers w
      where not exists (
        select 1 from pg_locks l
         where l.locktype = 'advisory' and l.classid = $1 and l.objsubid = 2
           and l.objid = ${lockOf('w.worker_id')}::bigint::oid
           and l.database = (select oid from pg_database where datname = current_database()))`,
    [WORKER_LOCK],
    'ended-workers',
  );
  let released = 0;
  for (const { worker_id: workerId } of ended) {
    released += await database.transaction(async (sql) => {
      const claimed = await sql.query(`delete from workers where worker_id = $1 returning 1`, [workerId]);
      if (claimed.length === 0) return 0;
      const rows = await sql.query(
        // The owner stays, as in releaseClaim.
        `update subscribers set lease_until = null
          where workspace_id = any(array(select workspace_id from workspaces))
            and due_at <= now() and lease_owner = $1
         returning 1`,
        [workerId],
      );
      return rows.length;
    });
  }
  return released;
}

/**
 * The worker's own connection: it receives notifications, and it shows that the worker is alive. Other workers end
 * the leases of one that is no longer connected; so each new connection has a new worker id, and what was claimed
 * under the old id no longer belongs to this worker.
 */
export interface WorkerSession extends Listener {
  /** The id that leases are taken under. */
  owner(): string;
}

/**
 * @param options.onWake without a workspace, after every new connection, anything may have been missed
 * @param options.channels others to listen to
 */
export function createWorkerSession(options: {
  /** `null`: a connection pooler allows no session. Polling finds what is due, and leases expire by time. */
  sessionUrl: string | null;
  channels: Readonly<Record<string, (payload: string) => void>>;
  logger: Logger;
  onWake(workspaceId?: string): void;
}): WorkerSession {
  let owner = randomUUID();
  const listener = createListener({
    ...options,
    channels: { ...options.channels, [DELIVERY_CHANNEL]: options.onWake },
    session: {
      begin: (sql) => registerWorker(sql, owner),
      onReady: () => options.onWake(),
      onLost() {
        owner = randomUUID();
      },
      async end(sql) {
        await sql.query(`delete from workers where worker_id = $1`, [owner]);
      },
    },
  });
  return { ...listener, owner: () => owner };
}
