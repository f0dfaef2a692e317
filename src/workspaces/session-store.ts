import { LessThan, MoreThan, Not } from 'typeorm';
import { SessionEntity, type SessionRow } from '../database/entities.ts';
import type { Entities, Sql } from '../database/sql.ts';
import { HOUR_MS, MINUTE_MS } from '../time.ts';

/** Writing the last use at most this often keeps reading a page cheap. */
const TOUCH_EVERY_MS = MINUTE_MS;

export type StoredSession = Pick<SessionRow, 'admin' | 'csrf'>;
export type SessionKey = Pick<SessionRow, 'workspaceId' | 'sessionHash'>;

const sessions = ({ manager }: Entities) => manager.getRepository(SessionEntity);
const ago = (ms: number): Date => new Date(Date.now() - ms);

export async function insertSession(
  database: Entities,
  { hours, ...session }: Omit<SessionRow, 'createdAt' | 'lastSeenAt' | 'expiresAt'> & { hours: number },
): Promise<void> {
  const { workspaceId } = session;
  const now = new Date();
  await sessions(database).delete({ workspaceId, expiresAt: LessThan(now) });
  const expiresAt = new Date(now.getTime() + hours * HOUR_MS);
  await sessions(database).insert({ ...session, createdAt: now, lastSeenAt: now, expiresAt });
}

/** @returns `null`: unknown, expired, idle for too long or signed out */
export async function readSession(
  database: Entities,
  { workspaceId, sessionHash }: SessionKey,
  idleMinutes: number,
): Promise<StoredSession | null> {
  const key = { workspaceId, sessionHash };
  const found = await sessions(database).findOneBy({ ...key, ...isLive(idleMinutes) });
  if (found && found.lastSeenAt < ago(TOUCH_EVERY_MS))
    await sessions(database).update(key, { lastSeenAt: new Date() });
  return found;
}

function isLive(idleMinutes: number) {
  return { expiresAt: MoreThan(new Date()), lastSeenAt: MoreThan(ago(idleMinutes * MINUTE_MS)) };
}

/** The sessions that are signed in now, the last used first. */
export function listSessions(
  database: Entities,
  workspaceId: string,
  idleMinutes: number,
): Promise<SessionRow[]> {
  return sessions(database).find({
    where: { workspaceId, ...isLive(idleMinutes) },
    order: { lastSeenAt: 'desc' },
    take: 100,
  });
}

export async function deleteSession(
  database: Entities,
  { workspaceId, sessionHash }: SessionKey,
): Promise<void> {
  await sessions(database).delete({ workspaceId, sessionHash });
}

/** Ends all sessions of an admin but one. */
export async function deleteOtherSessions(
  database: Entities & Sql,
  { workspaceId, adminId, exceptHash }: { workspaceId: string; adminId: string; exceptHash: string },
): Promise<void> {
  const all = await sessions(database).findBy({ workspaceId, sessionHash: Not(exceptHash) });
  for (const session of all.filter(({ admin }) => admin.id === adminId))
    await deleteSession(database, session);
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
