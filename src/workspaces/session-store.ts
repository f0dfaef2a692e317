import type { Sql } from '../database/sql.ts';
import type { Admin } from './store.ts';

export interface StoredSession {
  readonly admin: Admin;
  readonly csrf: string;
}

export interface SessionListItem {
  readonly sessionHash: string;
  readonly admin: Admin;
  readonly userAgent: string;
  readonly createdAt: Date;
  readonly lastSeenAt: Date;
}

export async function insertSession(
  sql: Sql,
  session: StoredSession & {
    workspaceId: string;
    sessionHash: string;
    userAgent: string;
    hours: number;
  },
): Promise<void> {
  await sql.query(`delete from sessions where workspace_id = $1 and expires_at < now()`, [
    session.workspaceId,
  ]);
  await sql.query(
    `insert into sessions (workspace_id, session_hash, admin, csrf, user_agent, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(hours => $6))`,
    [
      session.workspaceId,
      session.sessionHash,
      JSON.stringify(session.admin),
      session.csrf,
      session.userAgent,
      session.hours,
    ],
  );
}

/** @returns `null`: unknown, expired, idle for too long or signed out */
export async function readSession(
  sql: Sql,
  {
    workspaceId,
    sessionHash,
    idleMinutes,
  }: { workspaceId: string; sessionHash: string; idleMinutes: number },
): Promise<StoredSession | null> {
  const [row] = await sql.query<{ admin: Admin; csrf: string; stale: boolean }>(
    `select admin, csrf, last_seen_at < now() - interval '1 minute' as stale from sessions
      where workspace_id = $1 and session_hash = $2 and expires_at > now()
        and last_seen_at > now() - make_interval(mins => $3)`,
    [workspaceId, sessionHash, idleMinutes],
    'read-session',
  );
  if (!row) return null;
  if (row.stale)
    await sql.query(
      `update sessions set last_seen_at = now() where workspace_id = $1 and session_hash = $2`,
      [workspaceId, sessionHash],
    );
  return { admin: row.admin, csrf: row.csrf };
}

/** The sessions that are signed in now, the last used first. */
export async function listSessions(
  sql: Sql,
  workspaceId: string,
  idleMinutes: number,
): Promise<SessionListItem[]> {
  const rows = await sql.query<{
    session_hash: string;
    admin: Admin;
    user_agent: string;
    created_at: Date;
    last_seen_at: Date;
  }>(
    `select session_hash, admin, user_agent, created_at, last_seen_at from sessions
      where workspace_id = $1 and expires_at > now() and last_seen_at > now() - make_interval(mins => $2)
      order by last_seen_at desc limit 100`,
    [workspaceId, idleMinutes],
  );
  return rows.map((row) => ({
    sessionHash: row.session_hash,
    admin: row.admin,
    userAgent: row.user_agent,
    createdAt: row.created_at,
    lastSeenAt: row.last_seen_at,
  }));
}

export async function deleteSession(sql: Sql, workspaceId: string, sessionHash: string): Promise<void> {
  await sql.query(`delete from sessions where workspace_id = $1 and session_hash = $2`, [
    workspaceId,
    sessionHash,
  ]);
}

/** Ends all sessions of an admin but one. */
export async function deleteOtherSessions(
  sql: Sql,
  { workspaceId, adminId, exceptHash }: { workspaceId: string; adminId: string; exceptHash: string },
): Promise<void> {
  await sql.query(
    `delete from sessions where workspace_id = $1 and admin->>'id' = $2 and session_hash <> $3`,
    [workspaceId, adminId, exceptHash],
  );
}

/** Stores the hash of an OAuth state for as long as the browser may take. */
export async function saveOAuthState(
  sql: Sql,
  state: { hash: string; purpose: string; minutes: number },
): Promise<void> {
  await sql.query(`delete from oauth_states where expires_at < now()`);
  await sql.query(
    `insert into oauth_states (state_hash, purpose, expires_at) values ($1, $2, now() + make_interval(mins => $3))`,
    [state.hash, state.purpose, state.minutes],
  );
}

/** Uses a state up. @returns its purpose; `null`: unknown, used or expired */
export async function takeOAuthState(sql: Sql, hash: string): Promise<string | null> {
  const [row] = await sql.query<{ purpose: string; live: boolean }>(
    `delete from oauth_states where state_hash = $1 returning purpose, expires_at > now() as live`,
    [hash],
  );
  return row?.live ? row.purpose : null;
}
