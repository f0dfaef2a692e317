import { createHmac } from 'node:crypto';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { Request, RequestHandler, Response } from 'express';
import { LRUCache } from 'lru-cache';
import { AppError, forbidden, unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../text.ts';
import { MINUTE_MS } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { auditAdmin } from './audit.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { deleteOtherSessions, deleteSession, insertSession, readSession } from './session-store.ts';
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
    await auditAdmin(database, { ...cookie, admin: stored.admin }, 'access_removed');
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
      await auditAdmin(database, { workspaceId, admin }, 'signed_in');
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
        await auditAdmin(database, { ...cookie, admin: stored.admin }, 'signed_out');
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
