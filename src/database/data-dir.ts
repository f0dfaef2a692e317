import { randomBytes } from 'node:crypto';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError, codeOf } from '../errors.ts';

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
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/**
 * Creates the folder of the embedded database and of the keys, and checks that it can be written.
 *
 * @throws AppError with the reason and a remedy, when the folder cannot be used
 */
export async function openDataDir(dataDir: string): Promise<void> {
  const probe = join(dataDir, `.probe-${randomBytes(6).toString('hex')}`);
  try {
    await createFolder(dataDir);
    await writeFile(probe, 'x', { flag: 'wx', mode: 0o600 });
    await rm(probe);
  } catch (error) {
    await rm(probe, { force: true }).catch(() => {});
    const code = codeOf(error) ?? '';
    // No advice to use another folder when the disk is full: there the database would be a new, empty one.
    const remedy = FULL.has(code)
      ? 'Make room there.'
      : 'Set DATA_DIR to a folder that this user may write, or set both DATABASE_URL and ENCRYPTION_KEYS.';
    const reason = REASONS[code] ?? (error as Error).message;
    throw new AppError('conflict', `DATA_DIR ${dataDir} cannot be used: ${reason}. ${remedy}`, {
      cause: error,
    });
  }
}

/** Avoids the option `recursive`: on Linux it never returns where nothing can be created, such as in /proc. */
async function createFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (await isFolder(path)) return;
    const parent = dirname(path);
    if (codeOf(error) !== 'ENOENT' || (await isFolder(parent))) throw error;
    await createFolder(parent);
    await mkdir(path).catch(async (again) => {
      // Another process that started together with this one may have created it.
      if (!(await isFolder(path))) throw again;
    });
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
