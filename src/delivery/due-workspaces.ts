import type { Database, Sql } from '../database/sql.ts';
import { wakeSubscribers } from '../database/wake-subscribers.ts';

/** Connected workspaces with something due that are not rate-limited, least recently served first. */
export async function listDueWorkspaces(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select w.workspace_id from workspaces w
      where w.status = 'connected' and (w.not_before is null or w.not_before <= now())
        and exists (select 1 from subscribers s
                     where s.workspace_id = w.workspace_id and s.due_at <= now()
                       and (s.lease_until is null or s.lease_until < now()))
      order by w.last_claimed_at nulls first, w.workspace_id`,
    [],
    'list-due-workspaces',
  );
  return rows.map((row) => row.workspace_id);
}

/** A workspace without active deliveries gets this many slots, however busy the worker is with others. */
const MIN_SLOTS = 2;

/**
 * How many subscribers to claim of each workspace, in the order given.
 *
 * No workspace gets more than `perWorkspace`: deliveries that wait for its rate limit, or for a slow Intercom, must
 * leave slots for the others. A workspace with active deliveries claims more only when a quarter of its slots are
 * free, so that claims are large.
 *
 * @param due.active subscribers that this worker is delivering
 * @param due.room calls that the rate-limit window allows now
 */
export function allocateSlots(
  due: readonly { readonly workspaceId: string; readonly active: number; readonly room: number }[],
  limits: { perWorkspace: number; total: number; active: number },
): Map<string, number> {
  const slots = new Map<string, number>();
  let free = limits.total - limits.active;
  for (const [index, { workspaceId, active, room }] of due.entries()) {
    const open = limits.perWorkspace - active;
    if (open < limits.perWorkspace / 4) continue;
    const part = Math.ceil(free / (due.length - index));
    const share = Math.min(open, room, Math.max(part, active === 0 ? MIN_SLOTS : 0));
    if (share < 1) continue;
    slots.set(workspaceId, share);
    free -= share;
  }
  return slots;
}

/** Keeps all workers from claiming subscribers of the workspace for `forMs`, by PostgreSQL's clock. */
export async function pauseWorkspace(sql: Sql, workspaceId: string, forMs: number): Promise<void> {
  await sql.query(
    `update workspaces set not_before = greatest(not_before, now() + make_interval(secs => $2))
      where workspace_id = $1`,
    [workspaceId, forMs / 1_000],
  );
}

/**
 * Ends waits that became too long because the clock was set back, which a claim time in the future shows. Retries are
 * due at most an hour after the claim, and a subscriber that becomes due too early only finds nothing to send.
 */
export async function endWaitsOfSetBackClock(database: Database): Promise<void> {
  const workspaces = await database.query<{ workspaceId: string; until: Date }>(
    `select workspace_id as "workspaceId", last_claimed_at + interval '1 hour' as until
       from workspaces where last_claimed_at > now() + interval '1 minute'`,
    [],
    'list-claimed-in-future',
  );
  for (const { workspaceId, until } of workspaces)
    await database.transaction(async (sql) => {
      await wakeSubscribers(sql, workspaceId, {
        set: 'due_at = now()',
        where: 's.due_at > now() and s.due_at <= $2',
        values: [until],
      });
      await sql.query(
        `update event_deliveries set next_try_at = null
          where workspace_id = $1 and next_try_at > now()
            and subscriber_id in (select subscriber_id from subscribers
                                   where workspace_id = $1 and pending_events > 0 and due_at <= now())`,
        [workspaceId],
      );
      await sql.query(
        `update workspaces set not_before = null, last_claimed_at = now() where workspace_id = $1`,
        [workspaceId],
      );
    });
}
