import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { SecretBox, SecretLocation } from '../workspaces/secrets.ts';
import type { MessengerUser } from './identity-token.ts';

/** A link is made for the tap that opens it. */
const LINK_VALID_S = 10 * 60;
/** How long an opened page can be reloaded and can renew its identity token. */
const SESSION_VALID_S = 12 * 3_600;

/** Who may see which customer's page, with which key. */
export interface SupportGrant {
  readonly workspaceId: string;
  /** The API key that made the link: revoking it ends its links and pages. */
  readonly keyId: string;
  readonly user: MessengerUser;
  /** BCP 47; `null`: the browser's. */
  readonly locale: string | null;
}

/** A link or session as it was read back. */
export interface OpenedGrant extends SupportGrant {
  /** Names one link, and the session that opening it began. */
  readonly linkId: string;
}

export interface EncryptedGrant {
  readonly token: string;
  readonly expiresAtS: number;
}

type Purpose = 'link' | 'session';

/** Authenticated with the token: a link is not accepted as a session, nor in another workspace. */
const location = (purpose: Purpose, workspaceId: string) =>
  `support-${purpose}:${workspaceId}` as SecretLocation;

const VALID_S: Readonly<Record<Purpose, number>> = { link: LINK_VALID_S, session: SESSION_VALID_S };

const grantSchema = z.object({
  linkId: z.string().min(1),
  keyId: z.uuid(),
  user: z.object({ userId: z.string().min(1), email: z.string().nullable(), name: z.string().nullable() }),
  locale: z.string().nullable(),
  expiresAtS: z.number(),
});

/**
 * Support links and their sessions. Both are encrypted with the server's keys, not only signed: an address ends up
 * in logs and histories, and must not tell the customer's id or e-mail.
 */
export function createSupportLinks(secrets: SecretBox) {
  function encrypt(purpose: Purpose, grant: OpenedGrant, nowMs: number): EncryptedGrant {
    const { workspaceId, ...rest } = grant;
    const expiresAtS = Math.floor(nowMs / 1_000) + VALID_S[purpose];
    const plain = JSON.stringify({ ...rest, expiresAtS });
    return { token: secrets.encrypt(plain, location(purpose, workspaceId)), expiresAtS };
  }

  function read(
    purpose: Purpose,
    { token, workspaceId }: { token: string; workspaceId: string },
    nowMs: number,
  ): OpenedGrant {
    let stored: unknown;
    try {
      stored = JSON.parse(secrets.decrypt(token, location(purpose, workspaceId)));
    } catch {
      throw invalidLink();
    }
    const parsed = grantSchema.safeParse(stored);
    if (!parsed.success) throw invalidLink();
    const { expiresAtS, ...grant } = parsed.data;
    if (nowMs / 1_000 >= expiresAtS) throw expiredLink();
    return { workspaceId, ...grant };
  }

  return {
    newLink: (grant: SupportGrant, nowMs: number): EncryptedGrant =>
      encrypt('link', { ...grant, linkId: randomBytes(12).toString('base64url') }, nowMs),
    newSession: (grant: OpenedGrant, nowMs: number): EncryptedGrant => encrypt('session', grant, nowMs),
    /** Throws AppError 401 `link_expired` or `link_invalid`: forged, or of another workspace. */
    readLink: (token: string, workspaceId: string, nowMs: number): OpenedGrant =>
      read('link', { token, workspaceId }, nowMs),
    /** Throws AppError 401, like `readLink`. */
    readSession: (token: string, workspaceId: string, nowMs: number): OpenedGrant =>
      read('session', { token, workspaceId }, nowMs),
  };
}

export type SupportLinks = ReturnType<typeof createSupportLinks>;

/**
 * Marks a link as opened.
 *
 * @returns whether this is the first time
 */
export async function useLink(
  sql: Sql,
  { workspaceId, linkId }: OpenedGrant,
  nowMs: number,
): Promise<boolean> {
  const now = new Date(nowMs);
  await sql.query('delete from used_support_links where workspace_id = $1 and expires_at < $2', [
    workspaceId,
    now,
  ]);
  const rows = await sql.query(
    `insert into used_support_links (workspace_id, link_hash, expires_at)
     values ($1, $2, $3) on conflict do nothing returning 1`,
    [
      workspaceId,
      createHash('sha256').update(linkId).digest('base64url'),
      new Date(nowMs + LINK_VALID_S * 1_000),
    ],
  );
  return rows.length > 0;
}

export function expiredLink(): AppError {
  return new AppError(
    'link_expired',
    'This link has expired or was already opened. Open the page from the app again.',
    { status: 401 },
  );
}

export function invalidLink(): AppError {
  return new AppError('link_invalid', 'This link is not valid. Open the page from the app again.', {
    status: 401,
  });
}
