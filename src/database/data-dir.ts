import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../errors.ts';

const REASONS: Readonly<Record<string, string>> = {
  EEXIST: 'it is not a folder',
  ENOTDIR: 'part of its path is not a folder',
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'its file system is read-only',
  ENOSPC: 'its disk is full',
  EDQUOT: 'its disk is full',
  ENOENT: 'it cannot be created there',
};

/**
 * Creates the folder of the embedded database and of the keys, and checks that it can be written.
 *
 * @throws AppError that a person can act on
 */
export async function openDataDir(dataDir: string): Promise<void> {
  const probe = join(dataDir, `.probe-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(dataDir, { recursive: true });
    await writeFile(probe, 'x', { flag: 'wx', mode: 0o600 });
    await rm(probe);
  } catch (error) {
    await rm(probe, { force: true }).catch(() => {});
    throw unusable(dataDir, error);
  }
}

/** What keeps a folder from being used, in words. */
function unusable(dataDir: string, error: unknown): unknown {
  const reason = REASONS[String((error as { code?: unknown }).code)];
  if (reason === undefined) return error;
  return new AppError(
    'conflict',
    `DATA_DIR ${dataDir} cannot be used: ${reason}. Set DATA_DIR to a folder that this user may write, or set both DATABASE_URL and ENCRYPTION_KEYS.`,
    { cause: error },
  );
}
