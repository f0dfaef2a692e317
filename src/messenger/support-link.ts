import { randomBytes } from 'node:crypto';
import { LessThan } from 'typeorm';
import { z } from 'zod';
import { UsedSupportLinkEntity } from '../database/entities.ts';
import type { Entities } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { hashSecret, type SecretLocation } from '../workspaces/secrets.ts';

type Purpose = 'link' | 'session';

const VALID_S: Readonly<Record<Purpose, number>> = {
  /** A link is made for the tap that opens it. */
  link: 10 * 60,
  /** How long an opened page can be reloaded and can renew its identity token. */
  session: 12 * 3_600,
};

const claimsSchema = z.object({
  /** Names one link, and the session that opening it began. */
  linkId: z.string().min(1),
  /** The API key that made the link: revoking it ends its links and pages. */
  keyId: z.uuid(),
  user: z.object({ userId: z.string().min(1), email: z.string().nullable(), name: z.string().nullable() }),
  /** BCP 47; `null`: the browser's. */
  locale: z.string().nullable(),
  expiresAtS: z.number(),
});

export type SupportClaims = Omit<z.infer<typeof claimsSchema>, 'expiresAtS'> & {
  readonly workspaceId: string;
};

/** Bound to the token by its encryption: a link is not accepted as a session, nor in another workspace. */
function locationOf(purpose: Purpose, workspaceId: string): SecretLocation {
  return `support-${purpose}:${workspaceId}` as SecretLocation;
}

/**
 * Makes the token of a support link or of the session that it began. It is encrypted, not only signed: an address ends
 * up in logs and histories, and must not reveal the customer's id or e-mail.
 */
export function encryptClaims(
  { secrets, now }: Pick<AppContext, 'secrets' | 'now'>,
  purpose: Purpose,
  { workspaceId, ...claims }: SupportClaims,
) {
  const expiresAtS = Math.floor(now() / 1_000) + VALID_S[purpose];
  const plain = JSON.stringify({ ...claims, expiresAtS });
  return { token: secrets.encrypt(plain, locationOf(purpose, workspaceId)), expiresAtS };
}

/** @throws AppError 401 `link_expired`, or `link_invalid` for what is forged or of another workspace */
export function decryptClaims(
  { secrets, now }: Pick<AppContext, 'secrets' | 'now'>,
  purpose: Purpose,
  { token, workspaceId }: { readonly token: string; readonly workspaceId: string },
): SupportClaims {
  let stored: z.infer<typeof claimsSchema>;
  try {
    stored = claimsSchema.parse(JSON.parse(secrets.decrypt(token, locationOf(purpose, workspaceId))));
  } catch {
    throw invalidLink();
  }
  const { expiresAtS, ...claims } = stored;
  if (now() / 1_000 >= expiresAtS) throw expiredLink();
  return { workspaceId, ...claims };
}

export function newLinkId(): string {
  return randomBytes(12).toString('base64url');
}

/** @returns whether this is the first time that the link is opened */
export async function markLinkOpened(
  { manager }: Entities,
  { workspaceId, linkId }: SupportClaims,
  nowMs: number,
): Promise<boolean> {
  await manager.delete(UsedSupportLinkEntity, { workspaceId, expiresAt: LessThan(new Date(nowMs)) });
  const { raw: inserted } = await manager
    .createQueryBuilder()
    .insert()
    .into(UsedSupportLinkEntity)
    .values({ workspaceId, linkHash: hashSecret(linkId), expiresAt: new Date(nowMs + VALID_S.link * 1_000) })
    .orIgnore()
    .returning('link_hash')
    .execute();
  return (inserted as unknown[]).length > 0;
}

export function expiredLink(): AppError {
  return new AppError(
    'link_expired',
    'This link has expired or was already opened. Open the page from the app again.',
  );
}

export function invalidLink(): AppError {
  return new AppError('link_invalid', 'This link is not valid. Open the page from the app again.');
}
