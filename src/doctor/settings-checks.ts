import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { type Config, type ConfigProblem, readConfig } from '../config.ts';
import { openDatabase } from '../database/data-source.ts';
import { type DatabaseSetting, explainDatabaseError } from '../database/explain-error.ts';
import { codeOf } from '../errors.ts';
import { createCommandLogger } from '../logger.ts';
import { type Checks, ok, problem, warning } from './check.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

interface SettingsSubject {
  readonly problems: readonly ConfigProblem[];
  /** The settings without the wrong ones; `null`: the wrong ones are needed to find the database. */
  readonly config: Config | null;
}

/** Shown in place of a wrong address, which must not look like the right one. */
export const UNKNOWN_URL = '<PUBLIC_URL>';

export function readSettings(environment: Environment): SettingsSubject {
  const read = readConfig(environment);
  if (read.ok) return { problems: [], config: read.config };
  return { problems: read.problems, config: withoutProblems(environment, read.problems) };
}

/** Leaves out wrong settings, so that everything else can still be checked. */
function withoutProblems(environment: Environment, problems: readonly ConfigProblem[]): Config | null {
  const usable: Record<string, string | undefined> = { ...environment };
  for (const { name } of problems) {
    // With another database than the intended one, every further result would be wrong.
    if (name.startsWith('DATABASE_') || name === 'DATA_DIR') return null;
    usable[name] = name.startsWith('INTERCOM_CLIENT_') ? 'missing' : undefined;
  }
  if (problems.some(({ name }) => ['PUBLIC_URL', 'ENCRYPTION_KEYS'].includes(name)))
    usable.NODE_ENV = undefined;
  const read = readConfig(usable);
  if (!read.ok) return null;
  const isUrlWrong = problems.some(({ name }) => name === 'PUBLIC_URL');
  return isUrlWrong ? { ...read.config, publicUrl: UNKNOWN_URL } : read.config;
}

export const SETTINGS_CHECKS: Checks<SettingsSubject> = {
  settings: ({ problems }) =>
    problems.length === 0
      ? ok('All settings are valid.')
      : problems.map(({ name, message }) =>
          problem(`${name} ${message}.`, `Correct ${name} in the environment or in .env, then restart.`),
        ),
};

/** Checks that need neither the database nor the network, if a data folder is in use. */
export const DATA_DIR_CHECKS: Checks<Pick<Config, 'dataDir'>> = {
  async data_dir({ dataDir }) {
    const reason = await whyUnusable(dataDir);
    if (reason === null) return null;
    return problem(
      `DATA_DIR, ${dataDir}, ${reason}.`,
      'Set DATA_DIR to a folder that belongs to the user of the server, and run this command as that user (chown -R <user> <folder>), or set DATABASE_URL and ENCRYPTION_KEYS.',
    );
  },
};

async function whyUnusable(dataDir: string): Promise<string | null> {
  try {
    if (!(await stat(dataDir)).isDirectory()) return 'is not a folder';
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const code = codeOf(error);
    // The first start creates the folder.
    if (code === 'ENOENT') return null;
    if (code === 'ENOTDIR') return 'is not a folder';
    if (code === 'EROFS') return 'is on a read-only file system';
    return `cannot be read and written by this user (uid ${process.getuid?.()})`;
  }
}

/** Cards are read from the primary when the replica is half a second behind; with this lag it will not catch up. */
const MAX_REPLICA_LAG_S = 10;

type FurtherUrls = Pick<Config, 'databaseUrl' | 'databaseReadUrl' | 'databaseDirectUrl'>;

/** The databases besides `DATABASE_URL`. */
export const FURTHER_DATABASE_CHECKS: Checks<FurtherUrls> = {
  async replica({ databaseReadUrl: url, databaseUrl }) {
    if (url === null) return null;
    try {
      const lagS = await readReplicaLag(url);
      if (lagS === null)
        return warning(
          'DATABASE_READ_URL is not a replica: cards are read from the primary.',
          databaseUrl === url
            ? 'Leave DATABASE_READ_URL empty, or set it to a streaming replica.'
            : 'Correct DATABASE_READ_URL. A replica that was promoted is no longer one: make a new one.',
        );
      if (lagS <= MAX_REPLICA_LAG_S) return ok('The replica answers and is up to date.');
      return warning(
        `The replica is ${lagS} s behind: cards are read from the primary.`,
        'See pg_stat_replication on the primary, and the log, disk and network of the replica.',
      );
    } catch (error) {
      const { message, remedy } = describeDatabaseError(error, 'DATABASE_READ_URL');
      return warning(`${message}. Cards are read from the primary.`, remedy);
    }
  },
  async database({ databaseDirectUrl: url }) {
    if (url === null) return null;
    try {
      await readReplicaLag(url);
      return null;
    } catch (error) {
      const { message, remedy } = describeDatabaseError(error, 'DATABASE_DIRECT_URL');
      return problem(message, remedy);
    }
  },
};

/** @returns `null`: it is not a replica */
async function readReplicaLag(url: string): Promise<number | null> {
  const { database, close } = await openDatabase({ url, logger: createCommandLogger('silent'), poolSize: 1 });
  try {
    const [row] = await database.query<{ replica: boolean; behind: number | null }>(
      `select pg_is_in_recovery() as replica,
              case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
                   else extract(epoch from now() - pg_last_xact_replay_timestamp())::float8 end as behind`,
    );
    return row?.replica ? Math.round(row.behind ?? 0) : null;
  } finally {
    await close();
  }
}

export function describeDatabaseError(
  error: unknown,
  setting: DatabaseSetting,
): { message: string; remedy: string } {
  const { message, remedy } = explainDatabaseError(error, setting);
  return {
    message: `The database of ${setting} cannot be used: ${message}`,
    remedy: `${remedy ?? `See that PostgreSQL runs and that ${setting} is right.`} To try: psql "$${setting}" -c "select 1"`,
  };
}
