import { mkdtemp, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MEMORY = '/dev/shm';
/** A run uses a tenth of it; a container often has only 64 MB. */
const MIN_FREE_BYTES = 4 * 1024 ** 3;

/**
 * A folder for a database, in memory where there is room: the 530 files of each copy of the template take a tenth of
 * the processor time that they take on ext4.
 */
export async function makeDatabaseFolder(name: string): Promise<string> {
  const free = await statfs(MEMORY).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => 0,
  );
  return mkdtemp(join(free > MIN_FREE_BYTES ? MEMORY : tmpdir(), `subscription-timeline-${name}-`));
}
