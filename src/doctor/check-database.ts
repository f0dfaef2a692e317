import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { MIGRATIONS } from '../database/migrations.ts';
import type { Sql } from '../database/sql.ts';
import { type Finding, ok, problem, warning } from './check-result.ts';

const MIN_POSTGRES = 15;
const MIN_FREE = { problem: 0.03, warning: 0.1 };
const MAX_CONNECTIONS_USED = 0.85;

/** @returns also whether the tables are as this version needs them */
export async function checkDatabase(sql: Sql): Promise<{ findings: Finding[]; migrated: boolean }> {
  const [server] = await sql.query<{ version: string; size: string; used: number; allowed: number }>(
    `select current_setting('server_version') as version,
            pg_size_pretty(pg_database_size(current_database())) as size,
            (select count(*)::integer from pg_stat_activity where backend_type = 'client backend') as used,
            current_setting('max_connections')::integer as allowed`,
  );
  const findings: Finding[] = [];
  const { version = '0', size = '', used = 0, allowed = 1 } = server ?? {};
  if (Number.parseInt(version, 10) < MIN_POSTGRES) {
    findings.push(
      warning(
        'database',
        `PostgreSQL ${version} is older than what this version is tested with.`,
        `Upgrade PostgreSQL to version ${MIN_POSTGRES} or newer.`,
      ),
    );
  } else findings.push(ok('database', `PostgreSQL ${version} answers; the database has ${size}.`));
  if (used > allowed * MAX_CONNECTIONS_USED) {
    findings.push(
      warning(
        'connections',
        `${used} of ${allowed} database connections are in use.`,
        'Raise max_connections, lower DATABASE_POOL_SIZE, or put PgBouncer in front of PostgreSQL.',
      ),
    );
  }
  const migrations = await checkMigrations(sql);
  return { findings: [...findings, migrations], migrated: migrations.status === 'ok' };
}

async function checkMigrations(sql: Sql): Promise<Finding> {
  const [table] = await sql.query<{ there: boolean }>(
    `select to_regclass('schema_migrations') is not null as there`,
  );
  const done = table?.there
    ? (await sql.query<{ name: string }>('select name from schema_migrations')).map((row) => row.name)
    : [];
  const known = MIGRATIONS.map((migration) => new migration().name);
  const missing = known.filter((name) => !done.includes(name));
  const foreign = done.filter((name) => !known.includes(name));
  if (missing.length > 0) {
    return problem(
      'migrations',
      `The database lacks ${missing.length} of ${known.length} migrations (first: ${missing[0]}).`,
      'Run "npm run -s cli -- migrate", or start the server: it migrates by itself.',
    );
  }
  if (foreign.length > 0) {
    return problem(
      'migrations',
      `The database was migrated by a newer version (${foreign[0]}).`,
      'Run the newer version again, or revert its migrations with it before going back.',
    );
  }
  return ok('migrations', `All ${known.length} migrations have run.`);
}

/** Whether the folder can be used, where there is one in use. @param folder `DATA_DIR` */
export async function checkDataDir(folder: string): Promise<Finding | null> {
  try {
    const found = await stat(folder);
    if (!found.isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    // It is made at the first start.
    if (code === 'ENOENT') return null;
    const reason =
      code === 'ENOTDIR'
        ? 'is no folder'
        : code === 'EROFS'
          ? 'lies on a read-only file system'
          : `cannot be read and written by this user (uid ${process.getuid?.()})`;
    return problem(
      'data_dir',
      `DATA_DIR, ${folder}, ${reason}.`,
      'Set DATA_DIR to a folder that belongs to the user of the server, and run this command as that user (chown -R <user> <folder>), or set DATABASE_URL and ENCRYPTION_KEYS.',
    );
  }
}

/** @param folder where the embedded database and the keys are kept */
export async function checkDisk(folder: string): Promise<Finding> {
  const disk = await statfs(folder).catch(() => null);
  if (disk === null || disk.blocks === 0) return ok('disk', 'No data folder is in use.');
  const share = disk.bavail / disk.blocks;
  const free = `${Math.floor(share * 100)} % (${((disk.bavail * disk.bsize) / 2 ** 30).toFixed(1)} GiB) of the disk is free`;
  const remedy = `Free space on the disk of ${folder}, or keep payloads for less time with RETENTION_PAYLOAD_DAYS.`;
  if (share < MIN_FREE.problem) return problem('disk', `Only ${free}.`, remedy);
  if (share < MIN_FREE.warning) return warning('disk', `Only ${free}.`, remedy);
  return ok('disk', `${free}.`);
}
