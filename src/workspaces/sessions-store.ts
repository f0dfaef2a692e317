import type { Sql } from '../database/sql.ts';
import type { Admin } from './store.ts';

export async function insertSession(
  sql: Sql,
  session: { workspaceId: string; sessionHash: string; admin: Admin; csrf: string; hours: number },
): Promise<void> {
  await sql.query(`delete from sessions where workspace_id = $1 and expires_at < now()`, [
    session.workspaceId,
  ]);
  await sql.query(
    `insert into sessions (workspace_id, session_hash, admin, csrf, expires_at)
     values ($1, $2, $3, $4, now() + make_interval(hours => $5))`,
    [session.workspaceId, session.sessionHash, JSON.stringify(session.admin), session.csrf, session.hours],
  );
}

/** `null`: unknown, expired or signed out. */
export async function readSession(
  sql: Sql,
  workspaceId: string,
  sessionHash: string,
): Promise<{ admin: Admin; csrf: string } | null> {
  const [row] = await sql.query<{ admin: Admin; csrf: string }>(
    `select admin, csrf from sessions where workspace_id = $1 and session_hash = $2 and expires_at > now()`,
    [workspaceId, sessionHash],
    'read-session',
  );
  return row ?? null;
}

export async function deleteSession(sql: Sql, workspaceId: string, sessionHash: string): Promise<void> {
  await sql.query(`delete from sessions where workspace_id = $1 and session_hash = $2`, [
    workspaceId,
    sessionHash,
  ]);
}

/** Keeps the hash of an OAuth state for as long as the browser may take. */
export async function saveOAuthState(
  sql: Sql,
  stateHash: string,
  purpose: string,
  minutes: number,
): Promise<void> {
  await sql.query(`delete from oauth_states where expires_at < now()`);
  await sql.query(
    `insert into oauth_states (state_hash, purpose, expires_at) values ($1, $2, now() + make_interval(mins => $3))`,
    [stateHash, purpose, minutes],
  );
}

/** Uses a state up; `null` when it is unknown, used or too old. */
export async function takeOAuthState(sql: Sql, stateHash: string): Promise<string | null> {
  const [row] = await sql.query<{ purpose: string; live: boolean }>(
    `delete from oauth_states where state_hash = $1 returning purpose, expires_at > now() as live`,
    [stateHash],
  );
  return row?.live ? row.purpose : null;
}
