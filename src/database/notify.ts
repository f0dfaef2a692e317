import type { Sql } from './sql.ts';

/** The channel that delivery workers listen on; the payload is the workspace. */
export const DELIVERY_CHANNEL = 'delivery';

/** Wakes the delivery workers: something of the workspace is due. In a transaction they are woken by its commit. */
export async function notifyDelivery(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(`select pg_notify('${DELIVERY_CHANNEL}', $1)`, [workspaceId]);
}
