import { createCipheriv, createDecipheriv, createHash, hash, hkdfSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { openDataDir } from '../database/data-dir.ts';
import type { Database, Sql } from '../database/sql.ts';
import { ENCRYPTED_COLUMNS, type SecretKind } from '../database/tables.ts';
import { AppError, codeOf } from '../errors.ts';

/** Names the row and column of an encrypted value: `workspace:abc:access_token`. */
export type SecretLocation = string & { readonly kind: 'secret location' };

/** The location of each kind of encrypted secret. The columns are in `database/tables.ts`. */
export const secretLocation = {
  accessToken: (workspaceId: string) => `workspace:${workspaceId}:access_token` as SecretLocation,
  messengerSecret: (workspaceId: string) => `workspace:${workspaceId}:messenger_secret` as SecretLocation,
  erasureKey: (workspaceId: string) => `workspace:${workspaceId}:erasure_key` as SecretLocation,
  apiKey: (workspaceId: string, projectId: string) =>
    `project:${workspaceId}:${projectId}:api_key` as SecretLocation,
  signingSecret: (workspaceId: string, projectId: string) =>
    `project:${workspaceId}:${projectId}:signing` as SecretLocation,
} satisfies Record<SecretKind, unknown>;

export type SecretBox = ReturnType<typeof createSecretBox>;

const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Encrypts secrets that must be readable again (tokens, keys) with AES-256-GCM. The location is authenticated: a value
 * copied to another row does not decrypt.
 *
 * @param keys 32 bytes each; the first encrypts, all decrypt
 */
export function createSecretBox(keys: readonly Buffer[]) {
  const [first] = keys;
  if (!first) throw new Error('No encryption key');
  const byName = new Map(keys.map((key) => [keyName(key), key]));

  return {
    encrypt(plain: string, location: SecretLocation): string {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', first, iv);
      cipher.setAAD(Buffer.from(location));
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
      return `v1.${keyName(first)}.${Buffer.concat([iv, body, cipher.getAuthTag()]).toString('base64url')}`;
    },
    /** @throws AppError `secret_unreadable`: the keys were lost or the value was tampered with */
    decrypt(encrypted: string, location: SecretLocation): string {
      const [, name = '', data = ''] = encrypted.split('.');
      const key = byName.get(name);
      if (!key) throw unreadable(location);
      try {
        const bytes = Buffer.from(data, 'base64url');
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES));
        decipher.setAAD(Buffer.from(location));
        decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
        const body = bytes.subarray(IV_BYTES, bytes.length - TAG_BYTES);
        return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
      } catch {
        throw unreadable(location);
      }
    },
    /** Whether the value is encrypted with a key that is no longer the first. */
    needsRotation: (encrypted: string): boolean => encrypted.split('.')[1] !== keyName(first),
  };
}

function unreadable(location: SecretLocation): AppError {
  return new AppError(
    'secret_unreadable',
    `No key of ENCRYPTION_KEYS decrypts ${location}. Add the key that encrypted it. If it is lost, replace the secret in the settings; "cli doctor" says where.`,
  );
}

/** Distinguishes keys without revealing anything about them. */
function keyName(key: Buffer): string {
  return createHash('sha256').update('key-name').update(key).digest('base64url').slice(0, 8);
}

/** For secrets that are only ever compared: long and random, so a plain hash is enough. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'base64url');
}

/** A new random secret of 192 bits, safe in URLs and headers. */
export function newSecret(prefix = ''): string {
  return prefix + randomBytes(24).toString('base64url');
}

/** The secrets of a workspace as they are stored, each with the row and column that hold it. */
export async function listSecrets(sql: Sql, workspaceId: string) {
  const found = ENCRYPTED_COLUMNS.map(async ({ table, column, kind, idColumn }) => {
    const rows = await sql.query<{ id: string; encrypted: string }>(
      `select ${idColumn} as id, ${column} as encrypted from ${table}
        where workspace_id = $1 and ${column} is not null`,
      [workspaceId],
    );
    return rows.map((row) => {
      const location = secretLocation[kind](workspaceId, row.id);
      return { workspaceId, kind, table, column, idColumn, location, ...row };
    });
  });
  return (await Promise.all(found)).flat();
}

/**
 * Re-encrypts with the first key every secret that an older key has encrypted, so that an operator can drop the older
 * keys. Safe while the server runs: a secret that is replaced concurrently is left alone.
 */
export async function rotateKeys(database: Database, secrets: SecretBox) {
  let rotated = 0;
  /** Secrets that no key decrypts: they are left unchanged. */
  const unreadable: { workspaceId: string; secret: string }[] = [];
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  for (const { workspace_id: workspaceId } of workspaces) {
    for (const stored of await listSecrets(database, workspaceId)) {
      const { table, column, idColumn, id, encrypted, location } = stored;
      if (!secrets.needsRotation(encrypted)) continue;
      const plain = decryptOrNull(secrets, stored);
      if (plain === null) {
        unreadable.push({ workspaceId, secret: `${table}.${column}` });
        continue;
      }
      const replaced = await database.query(
        `update ${table} set ${column} = $4
          where workspace_id = $1 and ${idColumn} = $2 and ${column} = $3 returning 1`,
        [workspaceId, id, encrypted, secrets.encrypt(plain, location)],
      );
      rotated += replaced.length;
    }
  }
  return { rotated, unreadable };
}

/** `null`: no key decrypts it. */
export function decryptOrNull(
  secrets: SecretBox,
  { encrypted, location }: { readonly encrypted: string; readonly location: SecretLocation },
): string | null {
  try {
    return secrets.decrypt(encrypted, location);
  } catch {
    return null;
  }
}

/**
 * The keys that encrypt secrets. Outside production a key is generated and stored in `DATA_DIR`, so that the app can be
 * tried without any settings.
 */
export async function loadEncryptionKeys(
  config: Pick<Config, 'encryptionKeys' | 'dataDir'>,
): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  await openDataDir(config.dataDir);
  try {
    await writeFile(keyFile(config.dataDir), randomBytes(32).toString('base64'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  // Another process may have just created the file on its first start, and not have written the key yet.
  for (let waits = 0; waits < 20; waits += 1) {
    const keys = await findEncryptionKeys(config);
    if (keys.length > 0) return keys;
    await sleep(50);
  }
  const file = keyFile(config.dataDir);
  throw new AppError(
    'conflict',
    `${file} holds no key: a start was interrupted, or the file is damaged. Restore it from a backup. If there is none, delete it: secrets that were stored with it must be entered again.`,
  );
}

/** Like {@link loadEncryptionKeys}, but generates no key. */
export async function findEncryptionKeys(
  config: Pick<Config, 'encryptionKeys' | 'dataDir'>,
): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  const text = await readFile(keyFile(config.dataDir), 'utf8').catch(() => '');
  const key = Buffer.from(text, 'base64');
  return key.length === 32 ? [key] : [];
}

/** A key for each purpose, so that none reveals anything about the others. */
export function deriveKey(keys: readonly Buffer[], purpose: string): string {
  return Buffer.from(hkdfSync('sha256', keys[0] ?? '', '', purpose, 32)).toString('base64url');
}

function keyFile(dataDir: string): string {
  return join(dataDir, 'encryption.key');
}
