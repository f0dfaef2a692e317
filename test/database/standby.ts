import { chown, copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { until } from '../support/wait.ts';

export interface Cluster extends EmbeddedPostgres {
  readonly dataDir: string;
  /** Stops the server as if the machine had lost its power. */
  kill(): Promise<void>;
}

/** Starts the PostgreSQL below a data directory; one that was killed comes back at the same address. */
export async function startCluster(dataDir: string): Promise<Cluster> {
  const server = await startEmbeddedPostgres(dataDir);
  const file = join(dataDir, 'postgres', 'postmaster.pid');
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
  return {
    ...server,
    dataDir,
    async kill() {
      try {
        process.kill(pid, 'SIGQUIT');
      } catch {
        return;
      }
      await until(() => !isAlive(pid), 'the database to end');
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/**
 * Makes a physical copy of a running cluster, as `pg_basebackup` would, which the embedded binaries do not include.
 * Source: PostgreSQL, "Making a Base Backup Using the Low Level API".
 *
 * @param options.standby whether the copy follows the original, or starts as an independent server (a restore)
 */
export async function copyCluster(
  source: Cluster,
  dataDir: string,
  options: { standby: boolean },
): Promise<void> {
  const [from, to] = [join(source.dataDir, 'postgres'), join(dataDir, 'postgres')];
  await mkdir(dataDir, { recursive: true });
  const client = new pg.Client({ connectionString: source.superuserUrl });
  await client.connect();
  try {
    await client.query(`select pg_backup_start('copy', true)`);
    await copyChangingFolder(
      from,
      to,
      /^(postmaster\.(pid|opts)$|pg_wal\/([0-9A-F]{24}|xlogtemp)|pg_replslot\/.|pg_stat_tmp\/.)|pg_internal\.init/,
    );
    const { rows } = await client.query<{ labelfile: string }>(
      `select labelfile, pg_switch_wal() from pg_backup_stop(false)`,
    );
    await writeFile(join(to, 'backup_label'), rows[0]?.labelfile ?? '');
    if (!options.standby) await copyWal(from, to);
  } finally {
    await client.end();
  }
  if (options.standby) {
    const url = new URL(source.superuserUrl);
    const target = `host=${url.hostname} port=${url.port} user=postgres password=${url.password}`;
    await writeFile(join(to, 'postgresql.auto.conf'), `primary_conninfo = '${target}'\n`);
    await writeFile(join(to, 'standby.signal'), '');
  }
  const password = JSON.parse(await readFile(join(source.dataDir, 'postgres.json'), 'utf8')).password;
  await writeFile(join(dataDir, 'postgres.json'), JSON.stringify({ port: 0, password }), { mode: 0o600 });
  await giveTo(to, await stat(from));
}

/** Unlike `fs.cp`, accepts that a file is removed during the copy: a running server removes its temporary files. */
async function copyChangingFolder(from: string, to: string, skipped: RegExp): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  // Each folder is listed before its contents.
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = relative(from, join(entry.parentPath, entry.name));
    if (skipped.test(path)) continue;
    try {
      if (entry.isDirectory()) await mkdir(join(to, path), { recursive: true, mode: 0o700 });
      else await copyFile(join(from, path), join(to, path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** Copies the log that was written during the copy, which makes the copied files consistent. */
async function copyWal(from: string, to: string): Promise<void> {
  // A segment has this name only until it is filled, then it is renamed.
  await copyChangingFolder(join(from, 'pg_wal'), join(to, 'pg_wal'), /xlogtemp/);
}

/** The server runs as the owner of its folder. */
async function giveTo(folder: string, owner: { uid: number; gid: number }): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const entries = await readdir(folder, { recursive: true });
  await chown(folder, owner.uid, owner.gid);
  for (const entry of entries) await chown(join(folder, entry), owner.uid, owner.gid);
}

export async function removeCluster(dataDir: string): Promise<void> {
  await rm(dataDir, { recursive: true, force: true });
}
