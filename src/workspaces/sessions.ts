import { createHmac } from 'node:crypto';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { Request, RequestHandler, Response } from 'express';
import { LRUCache } from 'lru-cache';
import { LessThan, MoreThan, Not } from 'typeorm';
import { OAuthStateEntity, SessionEntity, type SessionRow } from '../database/entities.ts';
import type { Entities } from '../database/sql.ts';
import { AppError, forbidden, unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../text.ts';
import { HOUR_MS, MINUTE_MS } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { auditAdmin } from './audit.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { type Admin, readWorkspace } from './store.ts';

const SESSION_HOURS = 12;
/** A session that is not used for this long ends. */
export const IDLE_MINUTES = 120;
/** How soon a teammate who was removed in Intercom loses access. */
const MEMBERSHIP_FOR_MS = 5 * MINUTE_MS;
const MEMBERSHIP_TIMEOUT_MS = 3_000;
const MAX_USER_AGENT_LENGTH = 200;

/** A signed-in admin of one workspace. */
export interface Session {
  readonly workspaceId: string;
  readonly sessionHash: string;
  readonly admin: Admin;
  /** What each form must carry in `_csrf`. */
  readonly csrf: string;
}

export interface Sessions {
  /** Begins a session and sets its cookie. */
  signIn(req: Request, res: Response, who: { workspaceId: string; admin: Admin }): Promise<void>;
  /** Ends the request's session, if it has one. */
  signOut(req: Request, res: Response): Promise<void>;
  /** Admits signed-in admins. Page requests are redirected to `/signin`; anything else is a 401. */
  readonly requireSession: RequestHandler;
  /** The ids of the workspace's teammates, at most minutes old; `unknown` while Intercom does not answer. */
  readTeam(workspaceId: string): Promise<Team>;
  /** Admits a form whose `_csrf` is that of the session; comes after `requireSession` and the body. */
  readonly requireCsrf: RequestHandler;
}

export type Team = ReadonlySet<string> | 'unknown';

/** With this prefix a browser accepts the cookie only for HTTPS, this host and the whole site. */
export function cookieName(name: string, production: boolean): string {
  return production ? `__Host-${name}` : name;
}

export function setCookie(
  res: Response,
  cookie: { name: string; value: string; maxAgeS: number; production: boolean },
): void {
  res.append(
    'Set-Cookie',
    stringifySetCookie({
      name: cookieName(cookie.name, cookie.production),
      value: cookie.value,
      httpOnly: true,
      sameSite: 'lax',
      secure: cookie.production,
      path: '/',
      maxAge: cookie.maxAgeS,
    }),
  );
}

/**
 * Sessions of the settings pages. The cookie holds `<workspace id>.<random>.<signature>`: the workspace, because
 * every query names one; the signature, so that a forged cookie never reaches the database. Only a hash of the
 * random part is stored.
 *
 * @param secret keys the cookie's signature
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: short functions over the state that they share
export function createSessions(context: AppContext, secret: string): Sessions {
  const { database } = context;
  const { production } = context.config;
  const readTeam = createTeamReader(context);

  const sign = (value: string): string =>
    createHmac('sha256', secret).update('session-cookie\n').update(value).digest('base64url');

  function readCookie(req: Request): { workspaceId: string; sessionHash: string } | null {
    const value = parseCookie(req.headers.cookie ?? '')[cookieName('st_session', production)] ?? '';
    const [workspaceId, random, signature, ...rest] = value.split('.');
    if (!workspaceId || !random || !signature || rest.length > 0) return null;
    if (!equalInConstantTime(signature, sign(`${workspaceId}.${random}`))) return null;
    return { workspaceId, sessionHash: hashSecret(random) };
  }

  async function readCurrent(req: Request): Promise<Session | null> {
    const cookie = readCookie(req);
    const stored = cookie && (await readSession(database, cookie, IDLE_MINUTES));
    if (!stored) return null;
    const team = await readTeam(cookie.workspaceId, stored.admin.id);
    const { admin, csrf } = stored;
    if (team === 'unknown' || team.has(admin.id)) return { ...cookie, admin, csrf };
    await deleteOtherSessions(database, { ...cookie, adminId: stored.admin.id, exceptHash: '' });
    await auditAdmin(database, { ...cookie, admin: stored.admin }, { action: 'access_removed' });
    return null;
  }

  return {
    readTeam,
    async signIn(req, res, { workspaceId, admin }) {
      const random = newSecret();
      await insertSession(database, {
        workspaceId,
        sessionHash: hashSecret(random),
        admin,
        csrf: newSecret(),
        userAgent: (req.get('user-agent') ?? '').slice(0, MAX_USER_AGENT_LENGTH),
        hours: SESSION_HOURS,
      });
      await auditAdmin(database, { workspaceId, admin }, { action: 'signed_in' });
      const value = `${workspaceId}.${random}`;
      setCookie(res, {
        name: 'st_session',
        value: `${value}.${sign(value)}`,
        maxAgeS: SESSION_HOURS * 3_600,
        production,
      });
    },
    async signOut(req, res) {
      const cookie = readCookie(req);
      const stored = cookie && (await readSession(database, cookie, IDLE_MINUTES));
      if (stored) {
        await deleteSession(database, cookie);
        await auditAdmin(database, { ...cookie, admin: stored.admin }, { action: 'signed_out' });
      }
      setCookie(res, { name: 'st_session', value: '', maxAgeS: 0, production });
      res.set('Clear-Site-Data', '"cache", "cookies", "storage"');
    },
    async requireSession(req, res, next) {
      const session = await readCurrent(req);
      if (session) {
        res.locals.session = session;
        next();
      } else if (req.method === 'GET' && req.accepts(['html', 'json']) === 'html') {
        res.redirect(302, '/signin');
      } else if (req.accepts(['json', 'html']) === 'html') {
        res.redirect(303, '/signin?done=session_ended');
      } else {
        next(unauthorized('Sign in first'));
      }
    },
    requireCsrf(req, res, next) {
      const given: unknown = (req.body as Record<string, unknown> | undefined)?._csrf;
      if (typeof given === 'string' && equalInConstantTime(given, sessionOf(res).csrf)) next();
      else next(forbidden('This form is out of date. Reload the page and send it again.'));
    },
  };
}

/**
 * Reads who is in the team. While Intercom does not answer or refuses our token, everyone keeps access: a broken
 * connection is repaired in the settings.
 */
function createTeamReader(context: AppContext) {
  const known = new LRUCache<string, { team: Team; readAtMs: number }>({ max: 1_000 });

  async function read(workspaceId: string): Promise<Team> {
    const workspace = await readWorkspace(context.database, workspaceId);
    const client = workspace && context.intercom(workspace, { timeoutMs: MEMBERSHIP_TIMEOUT_MS });
    if (!client) return 'unknown';
    try {
      return new Set((await client.listAdmins()).map(({ id }) => id));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      context.logger.warn({ workspaceId, code: error.code }, 'team not read');
      return 'unknown';
    }
  }

  /** @param adminId someone who has just joined is missing from an older list, which is then read again */
  return async (workspaceId: string, adminId?: string): Promise<Team> => {
    const nowMs = context.now();
    const cached = known.get(workspaceId);
    if (cached && nowMs - cached.readAtMs < MEMBERSHIP_FOR_MS) {
      const { team } = cached;
      if (team === 'unknown' || adminId === undefined || team.has(adminId)) return team;
    }
    const team = await read(workspaceId);
    known.set(workspaceId, { team, readAtMs: nowMs });
    return team;
  };
}

/**
 * The session that `requireSession` found.
 *
 * @throws AppError `unauthorized` behind a route without it
 */
export function sessionOf(res: Response): Session {
  const session = res.locals.session as Session | undefined;
  if (!session) throw unauthorized('Sign in first');
  return session;
}

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
  database: Entities,
  { workspaceId, adminId, exceptHash }: { workspaceId: string; adminId: string; exceptHash: string },
): Promise<void> {
  const all = await sessions(database).findBy({ workspaceId, sessionHash: Not(exceptHash) });
  for (const session of all.filter(({ admin }) => admin.id === adminId))
    await deleteSession(database, session);
}

/** Stores the hash of an OAuth state for as long as the browser may take. */
export async function saveOAuthState(
  { manager }: Entities,
  state: { hash: string; purpose: string; minutes: number },
): Promise<void> {
  const { hash: stateHash, purpose, minutes } = state;
  await manager.delete(OAuthStateEntity, { expiresAt: LessThan(new Date()) });
  await manager.insert(OAuthStateEntity, { stateHash, purpose, expiresAt: ago(-minutes * MINUTE_MS) });
}

/** Uses a state up. @returns its purpose; `null`: unknown, used or expired */
export async function takeOAuthState({ manager }: Entities, stateHash: string): Promise<string | null> {
  const state = await manager.findOneBy(OAuthStateEntity, { stateHash, expiresAt: MoreThan(new Date()) });
  const { affected } = await manager.delete(OAuthStateEntity, { stateHash });
  return state !== null && affected === 1 ? state.purpose : null;
}
