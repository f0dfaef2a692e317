import type { Sql } from '../database/sql.ts';

/** A stranger may knock as often as they like: each process writes it down so seldom, ms. */
const NOTE_EVERY_MS = 60_000;
/** Projects that are remembered. */
const MAX_PROJECTS = 1_000;

export interface WebhookRefusal {
  /** What did not match. */
  readonly refusedFor: 'authorization' | 'signature';
  readonly atMs: number;
}

/** Notes that a project's webhook was refused. Never fails: the answer is the same without. */
export function createRefusalNotes(
  sql: Sql,
  now: () => number,
): (workspaceId: string, projectId: string, refusedFor: WebhookRefusal['refusedFor']) => Promise<void> {
  const notedMs = new Map<string, number>();
  return async (workspaceId, projectId, refusedFor) => {
    if (now() - (notedMs.get(projectId) ?? Number.NEGATIVE_INFINITY) < NOTE_EVERY_MS) return;
    if (notedMs.size >= MAX_PROJECTS) notedMs.clear();
    notedMs.set(projectId, now());
    await sql
      .query(
        `update projects set last_refused_at = now(), refused_for = $3 where workspace_id = $1 and project_id = $2`,
        [workspaceId, projectId, refusedFor],
      )
      .catch(() => {});
  };
}

/** The last refusal after which nothing was received; `null`: there is none. */
export async function readWebhookRefusal(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<WebhookRefusal | null> {
  const [row] = await sql.query<{ refused_for: WebhookRefusal['refusedFor']; last_refused_at: Date }>(
    `select refused_for, last_refused_at from projects
      where workspace_id = $1 and project_id = $2 and last_refused_at > coalesce(last_received_at, '-infinity')`,
    [workspaceId, projectId],
  );
  return row ? { refusedFor: row.refused_for, atMs: row.last_refused_at.getTime() } : null;
}
