import type { Sql } from '../database/sql.ts';
import type { Admin, Region } from '../workspaces/store.ts';
import type { ApiKeyKind } from './api-keys.ts';

export interface ApiKey {
  readonly keyId: string;
  readonly kind: ApiKeyKind;
  readonly name: string;
  readonly prefix: string;
  readonly createdBy: Admin;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
  readonly revokedAt: Date | null;
}

interface ApiKeyRow {
  key_id: string;
  kind: ApiKeyKind;
  name: string;
  prefix: string;
  created_by: Admin;
  created_at: Date;
  last_used_at: Date | null;
  revoked_at: Date | null;
}

/** Those in use first, each group newest first. Revoked ones stay listed: they say who could ask until when. */
export async function listApiKeys(sql: Sql, workspaceId: string): Promise<ApiKey[]> {
  const rows = await sql.query<ApiKeyRow>(
    `select key_id, kind, name, prefix, created_by, created_at, last_used_at, revoked_at from api_keys
      where workspace_id = $1 order by revoked_at is not null, created_at desc, key_id limit 200`,
    [workspaceId],
  );
  return rows.map((row) => ({
    keyId: row.key_id,
    kind: row.kind,
    name: row.name,
    prefix: row.prefix,
    createdBy: row.created_by,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    revokedAt: row.revoked_at,
  }));
}

export async function insertApiKey(
  sql: Sql,
  key: {
    workspaceId: string;
    keyId: string;
    hash: string;
    kind: ApiKeyKind;
    name: string;
    prefix: string;
    createdBy: Admin;
  },
): Promise<void> {
  await sql.query(
    `insert into api_keys (workspace_id, key_hash, key_id, kind, name, prefix, created_by)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [key.workspaceId, key.hash, key.keyId, key.kind, key.name, key.prefix, JSON.stringify(key.createdBy)],
  );
}

/** @returns its name; `null`: the workspace has no such key, or it was revoked before */
export async function revokeApiKey(sql: Sql, workspaceId: string, keyId: string): Promise<string | null> {
  const [row] = await sql.query<{ name: string }>(
    `update api_keys set revoked_at = now()
      where workspace_id = $1 and key_id = $2 and revoked_at is null returning name`,
    [workspaceId, keyId],
  );
  return row?.name ?? null;
}

/** A workspace as the Messenger's parts need it. */
export interface MessengerWorkspace {
  readonly workspaceId: string;
  readonly region: Region;
  /** IANA name. */
  readonly timezone: string;
  /** Sealed; `null`: no admin has pasted it yet. */
  readonly messengerSecret: string | null;
}

export interface KeyHolder extends MessengerWorkspace {
  readonly keyId: string;
  readonly kind: ApiKeyKind;
  readonly isRevoked: boolean;
}

interface HolderRow {
  workspace_id: string;
  region: string;
  timezone: string;
  messenger_secret: string | null;
  key_id: string;
  kind: ApiKeyKind;
  revoked: boolean;
}

const HOLDER = `select w.workspace_id, w.region, w.timezone, w.messenger_secret, k.key_id, k.kind,
    k.revoked_at is not null or w.status = 'uninstalled' as revoked
  from api_keys k join workspaces w on w.workspace_id = k.workspace_id`;

function toHolder(row: HolderRow): KeyHolder {
  return {
    workspaceId: row.workspace_id,
    region: row.region === 'EU' || row.region === 'AU' ? row.region : 'US',
    timezone: row.timezone,
    messengerSecret: row.messenger_secret,
    keyId: row.key_id,
    kind: row.kind,
    isRevoked: row.revoked,
  };
}

/** Whose key it is. An uninstalled workspace's keys count as revoked. `null`: no such key. */
export async function readKeyHolder(
  sql: Sql,
  workspaceId: string,
  keyHash: string,
): Promise<KeyHolder | null> {
  const [row] = await sql.query<HolderRow>(
    `${HOLDER} where k.workspace_id = $1 and k.key_hash = $2`,
    [workspaceId, keyHash],
    'read-key-holder',
  );
  return row ? toHolder(row) : null;
}

/** The same by the key's id, for links that were made with it. */
export async function readKeyHolderById(
  sql: Sql,
  workspaceId: string,
  keyId: string,
): Promise<KeyHolder | null> {
  const [row] = await sql.query<HolderRow>(
    `${HOLDER} where k.workspace_id = $1 and k.key_id = $2`,
    [workspaceId, keyId],
    'read-key-holder-by-id',
  );
  return row ? toHolder(row) : null;
}

/** Remembers that a key is in use, to the minute. */
export async function touchApiKey(sql: Sql, workspaceId: string, keyId: string): Promise<void> {
  await sql.query(
    `update api_keys set last_used_at = now()
      where workspace_id = $1 and key_id = $2
        and (last_used_at is null or last_used_at < now() - interval '1 minute')`,
    [workspaceId, keyId],
    'touch-api-key',
  );
}

/** @param sealed `null` removes it */
export async function setMessengerSecret(
  sql: Sql,
  workspaceId: string,
  sealed: string | null,
): Promise<void> {
  await sql.query('update workspaces set messenger_secret = $2 where workspace_id = $1', [
    workspaceId,
    sealed,
  ]);
}

export async function hasMessengerSecret(sql: Sql, workspaceId: string): Promise<boolean> {
  const [row] = await sql.query<{ has: boolean }>(
    'select messenger_secret is not null as has from workspaces where workspace_id = $1',
    [workspaceId],
  );
  return row?.has ?? false;
}
