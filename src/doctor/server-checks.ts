import type { Config } from '../config.ts';
import { explainDatabaseError } from '../database/explain-error.ts';
import { MIGRATIONS } from '../database/migrations.ts';
import { type Database, queryRow, type Sql } from '../database/sql.ts';
import type { SecretKind } from '../database/tables.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import { plural } from '../text.ts';
import { decryptOrNull, listSecrets, type SecretBox } from '../workspaces/secrets.ts';
import { type CheckOutcome, type Checks, ok, problem, warning } from './check.ts';

interface DatabaseSubject {
  readonly config: Config;
  readonly database: Database;
}

const MIN_POSTGRES_VERSION = 15;
const MAX_CONNECTIONS_USED = 0.85;

/** Checks of the database server that work whatever tables it has. */
export const DATABASE_CHECKS: Checks<DatabaseSubject> = {
  async database({ database }) {
    const { version, size, isReadOnly } = await queryRow<{
      version: string;
      size: string;
      isReadOnly: boolean;
    }>(
      database,
      `select current_setting('server_version') as version,
              pg_size_pretty(pg_database_size(current_database())) as size,
              current_setting('transaction_read_only')::boolean as "isReadOnly"`,
    );
    if (isReadOnly)
      return problem(
        'The database is read-only: webhooks get 503, and nothing is delivered.',
        'Set DATABASE_URL to the primary, not to a standby; otherwise see default_transaction_read_only of database and role.',
      );
    const obstacle = await findWriteError(database);
    if (obstacle)
      return problem(
        `The database answers but cannot write, so webhooks get 503: ${obstacle.message}`,
        obstacle.remedy ?? "Read PostgreSQL's own log.",
      );
    if (Number.parseInt(version, 10) >= MIN_POSTGRES_VERSION)
      return ok(`PostgreSQL ${version} answers; the database takes ${size}.`);
    return warning(
      `PostgreSQL ${version} is older than what this version is tested with.`,
      `Upgrade PostgreSQL to version ${MIN_POSTGRES_VERSION} or newer.`,
    );
  },
  async connections({ database }) {
    const { used, allowed } = await queryRow<{ used: number; allowed: number }>(
      database,
      `select (select count(*)::integer from pg_stat_activity where backend_type = 'client backend') as used,
              current_setting('max_connections')::integer as allowed`,
    );
    if (used <= allowed * MAX_CONNECTIONS_USED) return null;
    return warning(
      `${used} of ${allowed} database connections are in use.`,
      'Raise max_connections, lower DATABASE_POOL_SIZE, or put PgBouncer in front of PostgreSQL.',
    );
  },
  async migrations({ database }) {
    const [table] = await database.query(`select 1 where to_regclass('schema_migrations') is not null`);
    const rows = table ? await database.query<{ name: string }>('select name from schema_migrations') : [];
    const done = rows.map(({ name }) => name);
    const expected = MIGRATIONS.map((migration) => new migration().name);
    const missing = expected.filter((name) => !done.includes(name));
    const unknown = done.filter((name) => !expected.includes(name));
    if (missing.length > 0)
      return problem(
        `The database lacks ${missing.length} of ${expected.length} migrations (first: ${missing[0]}).`,
        'Run "npm run -s cli -- migrate", or start the server: migrations run on start.',
      );
    if (unknown.length === 0) return ok('All migrations have run.');
    return problem(
      `The database was migrated by a newer version (${unknown[0]}).`,
      'Run the newer version again, or undo its migrations with it before going back.',
    );
  },
};

/** A server whose disk is full still answers reads. The table made to find out is dropped at the commit. */
async function findWriteError(database: Database): Promise<ReturnType<typeof explainDatabaseError> | null> {
  try {
    await database.transaction((sql) =>
      sql.query('create temporary table doctor_probe on commit drop as select 1 as one'),
    );
    return null;
  } catch (error) {
    // The database user may have no right to create temporary tables, which only this check needs.
    return isDatabaseUnavailable(error) ? explainDatabaseError(error, 'DATABASE_URL') : null;
  }
}

interface ServerSubject extends DatabaseSubject {
  readonly secrets: SecretBox;
  readonly workspaceIds: readonly string[];
  /** The workspace to which the command is limited; `null`: all. */
  readonly workspaceId: string | null;
}

const LATE_JOB_MINUTES = 10;

/** Checks of the tables over all workspaces. */
export const SERVER_CHECKS: Checks<ServerSubject> = {
  async encryption_key({ database, workspaceIds, secrets }) {
    const stored = (await Promise.all(workspaceIds.map((id) => listSecrets(database, id)))).flat();
    if (stored.length === 0) return ok('No secret is stored yet.');
    const unreadable = stored.filter((secret) => decryptOrNull(secrets, secret) === null);
    if (unreadable.length === 0)
      return ok(`The encryption keys decrypt all ${stored.length} stored secrets.`);
    const byKind = new Map(unreadable.map((secret) => [secret.kind, secret]));
    return [...byKind].map(([kind, { workspaceId }]) => {
      const count = unreadable.filter((secret) => secret.kind === kind).length;
      const { name, ifLost } = SECRETS[kind];
      return problem(
        `The encryption keys do not decrypt ${name} of workspace ${workspaceId}${count > 1 ? ` and ${count - 1} more` : ''}.`,
        `Add the key that encrypted it to ENCRYPTION_KEYS (the newest first, older ones after a comma). If it is lost: ${ifLost(workspaceId)}`,
      );
    });
  },
  async worker({ database }) {
    const { workers } = await queryRow<{ workers: number }>(
      database,
      `select count(*)::integer as workers from pg_stat_activity
        where application_name = 'subscription-timeline-worker' and datname = current_database()`,
    );
    if (workers > 0) return ok(`${plural(workers, 'worker is', 'workers are')} connected.`);
    return warning(
      'No worker process is connected: events are stored and not delivered.',
      'Start one with "npm start" or "npm run -s cli -- serve --role worker". (Behind a connection pooler without DATABASE_DIRECT_URL workers cannot be seen.)',
    );
  },
  jobs: ({ database }) => checkJobs(database),
  workspaces({ workspaceIds, workspaceId, config }) {
    if (workspaceIds.length > 0) return null;
    const install = `Install the app at ${config.publicUrl}/install.`;
    return workspaceId === null
      ? warning('No Intercom workspace has the app installed yet.', install)
      : problem(`No workspace ${workspaceId} has the app installed.`, install);
  },
};

const SECRETS: Readonly<Record<SecretKind, { name: string; ifLost(workspaceId: string): string }>> = {
  accessToken: {
    name: "Intercom's access token",
    ifLost: () => 'an admin of the workspace signs in to its settings, which stores a new one.',
  },
  messengerSecret: {
    name: 'the Messenger secret',
    ifLost: () => 'save it again in Settings › Messenger and Fin.',
  },
  apiKey: { name: "RevenueCat's API key", ifLost: () => 'paste it again in Settings › RevenueCat.' },
  signingSecret: {
    name: "the webhook's signing secret",
    ifLost: () => 'save it again in Settings › RevenueCat. Until then its webhooks get 503.',
  },
  erasureKey: {
    name: 'the key of the list of erased customers',
    ifLost: (workspaceId) =>
      `give the list up, for which webhooks wait: psql "$DATABASE_URL" -c "update workspaces set erasure_key = null where workspace_id = '${workspaceId}'". An erased customer who sends another event is then stored again.`,
  },
};

async function checkJobs(sql: Sql): Promise<CheckOutcome> {
  const [queue] = await sql.query(`select 1 where to_regclass('pgboss.job') is not null`);
  if (!queue)
    return warning('The job queue was never set up.', 'Start the server once: it sets the queue up.');
  const late = await sql.query<{ name: string; count: string; minutes: number }>(
    `select name, count(*) as count,
            floor(extract(epoch from now() - min(start_after)) / 60)::integer as minutes
       from pgboss.job
      where state in ('created', 'retry') and start_after < now() - make_interval(mins => $1)
      group by name order by 3 desc`,
    [LATE_JOB_MINUTES],
  );
  const [oldest] = late;
  if (oldest) {
    const total = late.reduce((sum, row) => sum + Number(row.count), 0);
    return problem(
      `${total} background jobs have waited for more than ${LATE_JOB_MINUTES} minutes, the oldest (${oldest.name}) for ${oldest.minutes}.`,
      'See that a worker runs and what it logs; start more workers when one cannot keep up.',
    );
  }
  const [most] = await sql.query<{ name: string; count: string }>(
    `select name, count(*) as count from pgboss.job
      where state = 'failed' and completed_on > now() - interval '1 day' group by name order by 2 desc`,
  );
  return most
    ? warning(
        `Background jobs were given up in the last day, most often ${most.name} (${most.count}).`,
        'Search the log of the workers for "job failed" and the name of the job: the error says why.',
      )
    : ok('Background jobs run on time.');
}
