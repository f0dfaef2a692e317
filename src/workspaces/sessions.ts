import { createHmac } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';
import { JsonContains, LessThan, MoreThan, Not } from 'typeorm';
import { SessionEntity, type SessionRow } from '../database/entities.ts';
import type { Entities } from '../database/sql.ts';
import { forbidden, unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../text.ts';
import { HOUR_MS, MINUTE_MS } from '../time.ts';
import type { AppContext, DatabaseAndClock } from './app-context.ts';
import { auditAdmin } from './audit.ts';
import { readCookie, setCookie } from './cookies.ts';
import type { Admin } from './repository.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { createTeamReader } from './team.ts';

export const SESSION_HOURS = 12;
/** A session that is not used for this long ends. */
export const IDLE_MINUTES = 120;
const MAX_USER_AGENT_LENGTH = 200;

/** A signed-in admin of one workspace. Each form must carry `csrf` in `_csrf`. */
export type Session = Readonly<Pick<SessionRow, 'workspaceId' | 'sessionHash' | 'admin' | 'csrf'>>;

export type Sessions = ReturnType<typeof createSessions>;

const SESSION_COOKIE = { name: 'st_session' };
/** A form that is sent again in a new session is shown with everything that was typed into it. */
const SESSION_ENDED =
  'Your session has ended, and nothing was saved. Sign in in another tab, then reload this page to send it again.';

/**
 * Sessions of the settings pages. The cookie holds `<workspace id>.<random>.<signature>`: the workspace, because
 * every query names one; the signature, so that a forged cookie never reaches the database. Only a hash of the
 * random part is stored.
 *
 * @param secret keys the cookie's signature
 */
export function createSessions(app: AppContext, secret: string) {
  const { database } = app;
  const readTeam = createTeamReader(app);

  const sign = (value: string): string =>
    createHmac('sha256', secret).update('session-cookie\n').update(value).digest('base64url');

  /** `null`: no session, or one that is expired, idle for too long, signed out or forged. */
  async function readStored(req: Request): Promise<Session | null> {
    const key = keyIn(readCookie(app, req, SESSION_COOKIE), sign);
    return key && readLive(app, key);
  }

  async function isInTeam(session: Session): Promise<boolean> {
    const { workspaceId, admin } = session;
    const team = await readTeam(workspaceId, admin.id);
    if (team === 'unknown' || team.has(admin.id)) return true;
    await deleteOtherSessions(database, { workspaceId, adminId: admin.id, exceptHash: '' });
    await auditAdmin(database, session, { action: 'access_removed' });
    return false;
  }

  /** Admits signed-in admins. Page requests are redirected to `/signin`; anything else is a 401. */
  const requireSession: RequestHandler = async (req, res, next) => {
    const session = await readStored(req);
    if (session && (await isInTeam(session))) {
      res.locals.session = session;
      next();
    } else if (req.method === 'GET' && req.accepts(['html', 'json']) === 'html') {
      res.redirect(302, '/signin');
    } else {
      next(unauthorized(SESSION_ENDED));
    }
  };

  return {
    requireSession,
    requireCsrf,
    /** The ids of the workspace's teammates, at most minutes old; `unknown` while Intercom does not answer. */
    readTeam,
    /** Begins a session and sets its cookie. Ends the browser's previous session, which no page could sign out of. */
    async signIn(req: Request, res: Response, who: { workspaceId: string; admin: Admin }): Promise<void> {
      const before = await readStored(req);
      if (before) await deleteSession(database, before);
      const random = newSecret();
      await sessionsIn(database).insert({
        ...who,
        sessionHash: hashSecret(random),
        csrf: newSecret(),
        userAgent: (req.get('user-agent') ?? '').slice(0, MAX_USER_AGENT_LENGTH),
        createdAt: fromNow(app, 0),
        lastSeenAt: fromNow(app, 0),
        expiresAt: fromNow(app, SESSION_HOURS * HOUR_MS),
      });
      await auditAdmin(database, who, { action: 'signed_in' });
      const named = `${who.workspaceId}.${random}`;
      const value = `${named}.${sign(named)}`;
      setCookie(app, res, { ...SESSION_COOKIE, value, maxAgeS: SESSION_HOURS * 3_600 });
    },
    async signOut(req: Request, res: Response): Promise<void> {
      const session = await readStored(req);
      if (session) {
        await deleteSession(database, session);
        await auditAdmin(database, session, { action: 'signed_out' });
      }
      setCookie(app, res, { ...SESSION_COOKIE, value: '', maxAgeS: 0 });
      res.set('Clear-Site-Data', '"cache", "cookies", "storage"');
    },
  };
}

/** The session that a cookie names; `null`: forged or malformed. */
function keyIn(cookie: string, sign: (value: string) => string) {
  const [workspaceId, random, signature, ...rest] = cookie.split('.');
  if (!workspaceId || !random || !signature || rest.length > 0) return null;
  if (!equalInConstantTime(signature, sign(`${workspaceId}.${random}`))) return null;
  return { workspaceId, sessionHash: hashSecret(random) };
}

/** Admits a form whose `_csrf` matches the session's. Mounted after `requireSession` and the body parser. */
const requireCsrf: RequestHandler = (req, res, next) => {
  const given: unknown = (req.body as Record<string, unknown> | undefined)?._csrf;
  if (typeof given === 'string' && equalInConstantTime(given, sessionOf(res).csrf)) next();
  else next(forbidden('This form is out of date. Reload the page and send it again.'));
};

/** The session that `requireSession` found. @throws AppError `unauthorized` on a route without `requireSession` */
export function sessionOf(res: Response): Session {
  const session = res.locals.session as Session | undefined;
  if (!session) throw unauthorized('Sign in first');
  return session;
}

/** Writing the last use at most this often keeps reading a page cheap. */
const TOUCH_EVERY_MS = MINUTE_MS;

const sessionsIn = ({ manager }: Entities) => manager.getRepository(SessionEntity);
const fromNow = ({ now }: DatabaseAndClock, ms: number): Date => new Date(now() + ms);

const isLive = (app: DatabaseAndClock) => ({
  expiresAt: MoreThan(fromNow(app, 0)),
  lastSeenAt: MoreThan(fromNow(app, -IDLE_MINUTES * MINUTE_MS)),
});

async function readLive(app: DatabaseAndClock, key: NonNullable<ReturnType<typeof keyIn>>) {
  const sessions = sessionsIn(app.database);
  const found = await sessions.findOneBy({ ...key, ...isLive(app) });
  if (found && found.lastSeenAt < fromNow(app, -TOUCH_EVERY_MS))
    await sessions.update(key, { lastSeenAt: fromNow(app, 0) });
  return found;
}

export async function deleteExpiredSessions(app: DatabaseAndClock, workspaceId: string): Promise<void> {
  await sessionsIn(app.database).delete({ workspaceId, expiresAt: LessThan(fromNow(app, 0)) });
}

async function deleteSession(database: Entities, session: Session): Promise<void> {
  const { workspaceId, sessionHash } = session;
  await sessionsIn(database).delete({ workspaceId, sessionHash });
}

/** The sessions that are signed in now, the most recently used first. */
export function listSessions(app: DatabaseAndClock, workspaceId: string): Promise<SessionRow[]> {
  return sessionsIn(app.database).find({
    where: { workspaceId, ...isLive(app) },
    order: { lastSeenAt: 'desc' },
    take: 100,
  });
}

export async function deleteOtherSessions(
  database: Entities,
  { workspaceId, adminId, exceptHash }: { workspaceId: string; adminId: string; exceptHash: string },
): Promise<void> {
  const admin = JsonContains({ id: adminId });
  await sessionsIn(database).delete({ workspaceId, sessionHash: Not(exceptHash), admin });
}
