import { rm, stat, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../errors.ts';

const BEAT_MS = 1_000;
/** A lock that was not touched for this long was left by a process that has ended, ms. */
const STALE_MS = 8_000;
const RETRY_MS = 50;

/**
 * Runs work that only one process at a time may do: the others wait. The holder touches the file while it
 * works; a process id would mean nothing across containers that share the folder.
 *
 * @param file in a folder that exists; if it does not, no other process can hold the lock
 */
export async function withFileLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  while (!(await tryLock(file))) await sleep(RETRY_MS);
  const beat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, BEAT_MS);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(file, { force: true });
  }
}

async function tryLock(file: string): Promise<boolean> {
  try {
    await writeFile(file, '', { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return true;
    if (code !== 'EEXIST') throw error;
  }
  const found = await stat(file).catch(() => null);
  // A time in the future counts as stale, too: the clock was set back since.
  if (found && Math.abs(Date.now() - found.mtimeMs) > STALE_MS) await rm(file, { force: true });
  return false;
}
