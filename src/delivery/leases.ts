import type { Database, Sql } from '../database/sql.ts';

/** How long a lease lives without being renewed, should the process that holds it hang. */
export const LEASE_SECONDS = 15;

/** Any number that nothing else in this database uses for advisory locks of two integers. */
const WORKER_LOCK = 719_040_251;

/** The lock that a worker holds for as long as its connection lives, from the first 32 bits of its id. */
const LOCK_OF = (column: string): string => `('x' || substr(${column}::text, 1, 8))::bit(32)`;

/**
 * Makes this connection the sign of life of a worker: its leases end with it, however it ends.
 *
 * @param sql a connection of its own, not one of a pool
 */
export async function registerWorker(sql: Sql, workerId: string): Promise<void> {
  await sql.query(`select pg_advisory_lock($1, ${LOCK_OF('$2')}::integer)`, [WORKER_LOCK, workerId]);
  await sql.query(`insert into workers (worker_id) values ($1)`, [workerId]);
}

export async function unregisterWorker(sql: Sql, workerId: string): Promise<void> {
  await sql.query(`delete from workers where worker_id = $1`, [workerId]);
}

/**
 * Ends the leases of workers whose connection is gone. Leased subscribers are still due, so the index on what
 * is due finds them; it is looked through once for each worker that died.
 *
 * @returns number of subscribers set free
 */
export async function releaseExpiredLeases(database: Database): Promise<number> {
  const dead = await database.query<{ worker_id: string }>(
    `select w.worker_id from workers w
      where not exists (
        select 1 from pg_locks l
         where l.locktype = 'advisory' and l.classid = $1 and l.objsubid = 2
           and l.objid = ${LOCK_OF('w.worker_id')}::bigint::oid
           and l.database = (select oid from pg_database where datname = current_database()))`,
    [WORKER_LOCK],
    'dead-workers',
  );
  let freed = 0;
  for (const { worker_id: workerId } of dead) {
    freed += await database.transaction(async (sql) => {
      const mine = await sql.query(`delete from workers where worker_id = $1 returning 1`, [workerId]);
      if (mine.length === 0) return 0;
      const rows = await sql.query(
        `update subscribers set lease_until = null, lease_owner = null
          where workspace_id = any(array(select workspace_id from workspaces))
            and due_at <= now() and lease_owner = $1
         returning 1`,
        [workerId],
      );
      return rows.length;
    });
  }
  return freed;
}

/** Prolongs the leases that this worker still holds. */
export async function renewLeases(
  sql: Sql,
  workspaceId: string,
  owner: string,
  subscriberIds: readonly string[],
): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = now() + make_interval(secs => $4)
      where workspace_id = $1 and lease_owner = $2 and subscriber_id = any($3)`,
    [workspaceId, owner, subscriberIds, LEASE_SECONDS],
    'renew-leases',
  );
}
