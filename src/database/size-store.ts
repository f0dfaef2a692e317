import type { Sql } from './sql.ts';

/** What the database takes on its disk, indexes included (bytes). On Citus: of the node that is asked. */
export async function readDatabaseBytes(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ bytes: string }>('select pg_database_size(current_database()) as bytes');
  return Number(row?.bytes ?? 0);
}
