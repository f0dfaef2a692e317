import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { MessengerUser } from './identity-token.ts';

/** A link is opened at once: it is for the tap that asked for it. */
const LINK_VALID_S = 10 * 60;
/** How long an opened page may be reloaded and may renew its identity token. */
const SESSION_VALID_S = 12 * 3_600;

/** Who may see what, under whose key. */
export interface SupportGrant {
  readonly workspaceId: string;
  /** The API key with which the link was made: revoking it ends its links and pages. */
  readonly keyId: string;
  readonly user: MessengerUser;
  /** BCP 47; `null`: the browser's. */
  readonly locale: string | null;
}

export interface SignedGrant {
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAtS: number;
}

type Purpose = 'support-link' | 'support-session';

const claimsSchema = z.object({
  sub: z.string().min(1),
  wid: z.string().min(1),
  kid: z.uuid(),
  email: z.string().nullish(),
  name: z.string().nullish(),
  locale: z.string().nullish(),
});

/** @param key of this server alone; @param nowMs epoch ms */
export function signSupportLink(key: string, grant: SupportGrant, nowMs: number): SignedGrant {
  return sign(key, grant, 'support-link', LINK_VALID_S, nowMs);
}

export function signSupportSession(key: string, grant: SupportGrant, nowMs: number): SignedGrant {
  return sign(key, grant, 'support-session', SESSION_VALID_S, nowMs);
}

/** @throws AppError 401 `link_expired` or `link_invalid`: forged, of another workspace, or no link */
export function readSupportLink(
  key: string,
  token: string,
  workspaceId: string,
  nowMs: number,
): SupportGrant {
  return read(key, token, workspaceId, 'support-link', nowMs);
}

/** @throws AppError 401, like a link */
export function readSupportSession(
  key: string,
  token: string,
  workspaceId: string,
  nowMs: number,
): SupportGrant {
  return read(key, token, workspaceId, 'support-session', nowMs);
}

function sign(
  key: string,
  grant: SupportGrant,
  purpose: Purpose,
  validS: number,
  nowMs: number,
): SignedGrant {
  const issuedAtS = Math.floor(nowMs / 1_000);
  const { workspaceId, keyId, user, locale } = grant;
  const claims = {
    sub: user.userId,
    wid: workspaceId,
    kid: keyId,
    ...(user.email === null ? {} : { email: user.email }),
    ...(user.name === null ? {} : { name: user.name }),
    ...(locale === null ? {} : { locale }),
    iat: issuedAtS,
    exp: issuedAtS + validS,
    aud: purpose,
  };
  return { token: jwt.sign(claims, key, { algorithm: 'HS256' }), expiresAtS: claims.exp };
}

function read(
  key: string,
  token: string,
  workspaceId: string,
  purpose: Purpose,
  nowMs: number,
): SupportGrant {
  const claims = claimsSchema.safeParse(verified(key, token, purpose, nowMs));
  if (!claims.success || claims.data.wid !== workspaceId) throw invalid();
  const { sub, kid, email, name, locale } = claims.data;
  return {
    workspaceId,
    keyId: kid,
    user: { userId: sub, email: email ?? null, name: name ?? null },
    locale: locale ?? null,
  };
}

function verified(key: string, token: string, purpose: Purpose, nowMs: number): unknown {
  try {
    return jwt.verify(token, key, {
      algorithms: ['HS256'],
      audience: purpose,
      clockTimestamp: Math.floor(nowMs / 1_000),
    });
  } catch (error) {
    if (error instanceof jwt.TokenExpiredError) {
      throw new AppError('link_expired', 'This link has expired: open the page from the app again', {
        status: 401,
      });
    }
    throw invalid();
  }
}

function invalid(): AppError {
  return new AppError('link_invalid', 'This link is not valid: open the page from the app again', {
    status: 401,
  });
}
