import { randomBytes, randomUUID } from 'node:crypto';
import { type FindOperator, IsNull, Not } from 'typeorm';
import {
  ApiKeyEntity,
  type ApiKeyRow,
  updateRows,
  WorkspaceEntity,
  type WorkspaceRow,
} from '../database/entities.ts';
import type { Entities, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { hashSecret, secretLocation } from '../workspaces/secrets.ts';

/** What a key allows: `messenger` makes identity tokens and support links, `fin` reads for the Fin data connector. */
export const API_KEY_KINDS = ['messenger', 'fin'] as const;

export type ApiKeyKind = (typeof API_KEY_KINDS)[number];

const PREFIXES: Readonly<Record<ApiKeyKind, string>> = { messenger: 'stm', fin: 'stf' };
const RANDOM_BYTES = 32;
/** How many digits of the random part are shown, so that people can tell keys apart. */
const VISIBLE_DIGITS = 6;

const KEY_PATTERN = new RegExp(`^(stm|stf)_([A-Za-z0-9_-]{1,64})_([0-9a-f]{${RANDOM_BYTES * 2}})$`);

/**
 * Creates a key of 256 random bits, `stm_<workspace>_<hex>`. It names its workspace, so that looking it up stays
 * within that workspace. It is long and random, so a plain SHA-256 is enough to store. The admin sees it once.
 */
export function newApiKey(kind: ApiKeyKind, workspaceId: string) {
  const random = randomBytes(RANDOM_BYTES).toString('hex');
  const key = `${PREFIXES[kind]}_${workspaceId}_${random}`;
  const prefix = key.slice(0, -random.length + VISIBLE_DIGITS);
  return { key, stored: { workspaceId, keyId: randomUUID(), kind, keyHash: hashSecret(key), prefix } };
}

/** The workspace that a key names and the hash under which it is stored; `null`: not one of our keys. */
export function parseApiKey(key: string): { workspaceId: string; hash: string } | null {
  const workspaceId = KEY_PATTERN.exec(key)?.[2];
  return workspaceId === undefined ? null : { workspaceId, hash: hashSecret(key) };
}

const MAX_LISTED = 200;

/** Keys in use first, each group newest first. Revoked keys stay listed: they document who had access until when. */
export async function listApiKeys({ manager }: Entities, workspaceId: string): Promise<ApiKeyRow[]> {
  const list = (revokedAt: FindOperator<Date>) =>
    manager.find(ApiKeyEntity, {
      where: { workspaceId, revokedAt },
      order: { createdAt: 'desc', keyId: 'asc' },
      take: MAX_LISTED,
    });
  return (await Promise.all([list(IsNull()), list(Not(IsNull()))])).flat();
}

export async function insertApiKey(
  { manager }: Entities,
  key: Omit<ApiKeyRow, 'createdAt' | 'lastUsedAt' | 'revokedAt'>,
): Promise<void> {
  await manager.insert(ApiKeyEntity, key);
}

/** @returns whether it was in use until now */
export function revokeApiKey(database: Entities, workspaceId: string, keyId: string): Promise<boolean> {
  const inUse = { workspaceId, keyId, revokedAt: IsNull() };
  return updateRows(database, ApiKeyEntity, inUse, { revokedAt: () => 'now()' });
}

export interface KeyHolder
  extends Readonly<Pick<WorkspaceRow, 'workspaceId' | 'region' | 'timezone' | 'messengerSecret'>>,
    Readonly<Pick<ApiKeyRow, 'keyId' | 'kind' | 'lastUsedAt'>> {
  readonly isRevoked: boolean;
}

/** @param by the key's hash for requests, its id for links that were made with it */
export async function findKeyHolder(
  sql: Sql,
  workspaceId: string,
  by: { hash: string } | { keyId: string },
): Promise<KeyHolder | null> {
  const [column, value] = 'hash' in by ? ['key_hash', by.hash] : ['key_id', by.keyId];
  const [row] = await sql.query<KeyHolder>(
    `select w.workspace_id as "workspaceId", w.region, w.timezone, w.messenger_secret as "messengerSecret",
            k.key_id as "keyId", k.kind, k.last_used_at as "lastUsedAt",
            k.revoked_at is not null as "isRevoked"
       from api_keys k join workspaces w on w.workspace_id = k.workspace_id
      where k.workspace_id = $1 and w.workspace_id = $1 and k.${column} = $2`,
    [workspaceId, value],
    `find-key-holder-by-${column}`,
  );
  return row ?? null;
}

export async function touchApiKey(database: Entities, workspaceId: string, keyId: string): Promise<void> {
  await updateRows(database, ApiKeyEntity, { workspaceId, keyId }, { lastUsedAt: () => 'now()' });
}

/** @param messengerSecret encrypted; `null` removes it */
export async function setMessengerSecret(
  database: Entities,
  workspaceId: string,
  messengerSecret: string | null,
): Promise<void> {
  await updateRows(database, WorkspaceEntity, { workspaceId }, { messengerSecret });
}

export async function hasMessengerSecret({ manager }: Entities, workspaceId: string): Promise<boolean> {
  return (await manager.countBy(WorkspaceEntity, { workspaceId, messengerSecret: Not(IsNull()) })) > 0;
}

/** The workspace's Messenger secret. @throws AppError 409 when no admin has pasted it */
export function messengerSecretOf(
  { secrets }: Pick<AppContext, 'secrets'>,
  { workspaceId, messengerSecret }: KeyHolder,
): string {
  if (messengerSecret === null)
    throw new AppError(
      'messenger_secret_missing',
      'This workspace has no Messenger secret. Copy it in Intercom from Settings › Channels › Messenger › Security and paste it under Settings › Messenger and Fin.',
    );
  return secrets.decrypt(messengerSecret, secretLocation.messengerSecret(workspaceId));
}
