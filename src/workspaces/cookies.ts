import { parseCookie, stringifySetCookie } from 'cookie';
import type { Request, Response } from 'express';
import type { AppContext } from './app-context.ts';

/** A cookie that no script can read, and that other sites' forms do not carry. */
interface Cookie {
  readonly name: string;
  readonly path?: string;
}

/** Browsers accept both prefixes over HTTPS only, and `__Host-` only for this exact host and all its paths. */
function nameOf({ name, path = '/' }: Cookie, { config }: Pick<AppContext, 'config'>): string {
  if (!config.production) return name;
  return path === '/' ? `__Host-${name}` : `__Secure-${name}`;
}

/** `''`: the request has no such cookie. */
export function readCookie(app: Pick<AppContext, 'config'>, req: Request, cookie: Cookie): string {
  return parseCookie(req.headers.cookie ?? '')[nameOf(cookie, app)] ?? '';
}

/** @param cookie.maxAgeS 0 deletes it */
export function setCookie(
  app: Pick<AppContext, 'config'>,
  res: Response,
  cookie: Cookie & { readonly value: string; readonly maxAgeS: number },
): void {
  const { path = '/', value, maxAgeS: maxAge } = cookie;
  const secure = app.config.production;
  const name = nameOf(cookie, app);
  res.append(
    'Set-Cookie',
    stringifySetCookie({ name, value, httpOnly: true, sameSite: 'lax', secure, path, maxAge }),
  );
}
