import { hkdfSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { openDataDir } from '../database/data-dir.ts';

/** The keys that encrypt secrets. Outside production one is generated and kept in `DATA_DIR`, so that trying the app takes no settings. */
export async function loadEncryptionKeys(
  config: Pick<Config, 'encryptionKeys' | 'dataDir'>,
): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  await openDataDir(config.dataDir);
  try {
    await writeFile(keyFile(config.dataDir), randomBytes(32).toString('base64'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
  }
  return findEncryptionKeys(config);
}

/** Unlike {@link loadEncryptionKeys} generates none. */
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
