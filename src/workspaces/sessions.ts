import { createHmac } from 'node:crypto';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { Request, RequestHandler, Response } from 'express';
import type { Sql } from '../database/sql.ts';
import { forbidden, unauthorized } from '../errors.ts';
import { equalInConstantTime } from '../text.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { deleteSession, insertSession, readSession } from './sessions-store.ts';
import type { Admin } from './store.ts';

const SESSION_COOKIE = 'st_session';
const SESSION_HOURS = 12;

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
  signIn(res: Response, who: { workspaceId: string; admin: Admin }): Promise<void>;
  /** Ends the request's session, if it has one. */
  signOut(req: Request, res: Response): Promise<void>;
  /** Lets signed-in admins pass. A page leads the others to `/signin`; anything else is a 401. */
  readonly requireSession: RequestHandler;
  /** Lets a form pass whose `_csrf` is that of the session; comes after `requireSession` and the body. */
  readonly requireCsrf: RequestHandler;
}

/**
 * Sessions of the settings pages. The cookie holds `<workspace id>.<random>.<signature>`: the workspace, because
 * every query names one; the signature, so that a made-up cookie never reaches the database. Only a hash of the
 * random part is stored.
 *
 * @param options.secret keys the cookie's signature
 * @param options.secure whether the cookie is for HTTPS alone
 */
export function createSessions(options: { database: Sql; secret: string; secure: boolean }): Sessions {
  const { database } = options;

  const sign = (value: string): string =>
    createHmac('sha256', options.secret).update('session-cookie\n').update(value).digest('base64url');

  function setCookie(res: Response, value: string, maxAgeS: number): void {
    res.append(
      'Set-Cookie',
      stringifySetCookie({
        name: SESSION_COOKIE,
        value,
        httpOnly: true,
        sameSite: 'lax',
        secure: options.secure,
        path: '/',
        maxAge: maxAgeS,
      }),
    );
  }

  function readCookie(req: Request): { workspaceId: string; sessionHash: string } | null {
    const value = parseCookie(req.headers.cookie ?? '')[SESSION_COOKIE] ?? '';
    const [workspaceId, random, signature, ...rest] = value.split('.');
    if (!workspaceId || !random || !signature || rest.length > 0) return null;
    if (!equalInConstantTime(signature, sign(`${workspaceId}.${random}`))) return null;
    return { workspaceId, sessionHash: hashSecret(random) };
  }

  return {
    async signIn(res, { workspaceId, admin }) {
      const random = newSecret();
      await insertSession(database, {
        workspaceId,
        sessionHash: hashSecret(random),
        admin,
        csrf: newSecret(),
        hours: SESSION_HOURS,
      });
      const value = `${workspaceId}.${random}`;
      setCookie(res, `${value}.${sign(value)}`, SESSION_HOURS * 3_600);
    },
    async signOut(req, res) {
      const cookie = readCookie(req);
      if (cookie) await deleteSession(database, cookie.workspaceId, cookie.sessionHash);
      setCookie(res, '', 0);
    },
    async requireSession(req, res, next) {
      const cookie = readCookie(req);
      const session = cookie && (await readSession(database, cookie.workspaceId, cookie.sessionHash));
      if (cookie && session) {
        res.locals.session = { ...cookie, ...session } satisfies Session;
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
      else next(forbidden('This form is out of date: reload the page and send it again'));
    },
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
