import { statfs } from 'node:fs/promises';
import { type AxiosResponse, isAxiosError } from 'axios';
import type { Config } from '../config.ts';
import { explainDatabaseError } from '../database/explain-error.ts';
import { MIGRATIONS } from '../database/migrations.ts';
import { type Database, queryRow, type Sql } from '../database/sql.ts';
import type { SecretKind } from '../database/tables.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import { plural } from '../text.ts';
import { decryptOrNull, listSecrets, type SecretBox } from '../workspaces/secrets.ts';
import { type CheckOutcome, type Checks, ok, problem, warning } from './check.ts';
import { UNKNOWN_URL } from './settings-checks.ts';

/** Requests an address. @throws AxiosError without a response */
export type RequestUrl = (url: string) => Promise<Pick<AxiosResponse, 'status' | 'data' | 'headers'>>;

export interface ClockOffset {
  readonly name: string;
  /** How far the other clock is ahead of ours, ms; `null`: it did not answer. */
  readonly aheadMs: number | null;
}

/** Reads a server's time from its `Date` header, which every response carries, a refusal too. */
export async function readServerClock(
  name: string,
  request: () => ReturnType<RequestUrl>,
  now: () => number,
): Promise<ClockOffset> {
  const sentMs = now();
  try {
    const { headers } = await request();
    const dateMs = Date.parse(String(headers.date ?? ''));
    if (Number.isNaN(dateMs)) return { name, aheadMs: 0 };
    // Whole seconds, cut off: on average half a second has passed since.
    return { name, aheadMs: dateMs + 500 - (sentMs + now()) / 2 };
  } catch {
    return { name, aheadMs: null };
  }
}

export async function readDatabaseClock(sql: Sql, now: () => number): Promise<ClockOffset> {
  const sentMs = now();
  const { at } = await queryRow<{ at: Date }>(sql, 'select clock_timestamp() as at');
  return { name: 'the database', aheadMs: at.getTime() - (sentMs + now()) / 2 };
}

/** Webhook signatures older than five minutes are refused; most of that would be used up. */
const MAX_CLOCK_SKEW_MS = { problem: 120_000, warning: 15_000 };

interface OutsideSubject {
  readonly config: Config;
  readonly clocks: readonly ClockOffset[];
  readonly requestUrl: RequestUrl;
}

export const OUTSIDE_CHECKS: Checks<OutsideSubject> = {
  disk: ({ config }) => checkDisk(config.dataDir),
  reachable: ({ clocks }) =>
    clocks
      .filter(({ aheadMs }) => aheadMs === null)
      .map(({ name }) =>
        problem(
          `${name} does not answer from here.`,
          `Let this server open HTTPS connections to ${name}: check firewall, proxy and DNS, and INTERCOM_API_URL or REVENUECAT_API_URL if one is set.`,
        ),
      ),
  clock({ clocks }) {
    const [worst] = clocks
      .filter((clock): clock is ClockOffset & { aheadMs: number } => clock.aheadMs !== null)
      .sort((a, b) => Math.abs(b.aheadMs) - Math.abs(a.aheadMs));
    if (!worst) return null;
    const skewMs = Math.abs(worst.aheadMs);
    if (skewMs <= MAX_CLOCK_SKEW_MS.warning)
      return ok('The clock agrees with those of the database and the platforms.');
    const severity = skewMs > MAX_CLOCK_SKEW_MS.problem ? problem : warning;
    return severity(
      `This server's clock is ${Math.round(skewMs / 1_000)} s ${worst.aheadMs > 0 ? 'behind' : 'ahead of'} that of ${worst.name}.`,
      'Synchronize the clocks of this server and of the database with NTP (chrony or systemd-timesyncd): signatures and retries depend on them.',
    );
  },
  production({ config: { publicUrl, production } }) {
    if (publicUrl === UNKNOWN_URL || production || isLoopback(publicUrl)) return null;
    return warning(
      'NODE_ENV is not "production": cookies are sent without HTTPS too, and settings are checked less strictly.',
      'Set NODE_ENV=production.',
    );
  },
  // Only warnings: behind some routers a server cannot reach its own public address.
  public_url: ({ config: { publicUrl }, requestUrl }) =>
    publicUrl === UNKNOWN_URL ? null : checkPublicUrl(publicUrl, requestUrl),
};

const isLoopback = (url: string): boolean =>
  ['localhost', '127.0.0.1', '[::1]'].includes(new URL(url).hostname);

async function checkPublicUrl(publicUrl: string, requestUrl: RequestUrl): Promise<CheckOutcome> {
  if (isLoopback(publicUrl))
    return warning(
      `PUBLIC_URL is ${publicUrl}: Intercom and RevenueCat cannot reach it.`,
      'Set PUBLIC_URL to the HTTPS address under which this server is reached from the internet.',
    );
  if (!publicUrl.startsWith('https:'))
    return warning(
      `PUBLIC_URL is ${publicUrl}: Intercom calls only HTTPS addresses.`,
      'Put a proxy with a certificate in front (ops/Caddyfile, ops/nginx.conf), and write PUBLIC_URL with https://.',
    );
  const wrong = (cause: string, remedy: string): CheckOutcome =>
    warning(
      `The public address, ${publicUrl}, does not lead to this app, as seen from here: ${cause}.`,
      `${remedy} To try, from another machine: curl ${publicUrl}/healthz answers {"status":"ok"}.`,
    );
  try {
    const { status, data } = await requestUrl(`${publicUrl}/healthz`);
    if (status === 200 && (data as { status?: unknown } | null)?.status === 'ok')
      return ok(`The public address, ${publicUrl}, leads to this app.`);
    if ([502, 503, 504].includes(status))
      return wrong(
        `it answers ${status}`,
        'The proxy does not reach the app: see that the app runs, and that the proxy forwards to its PORT.',
      );
    return wrong(
      `it answers ${status}, and not as this app does`,
      'Correct PUBLIC_URL, or the proxy or DNS of this host.',
    );
  } catch (error) {
    if (!isAxiosError(error)) throw error;
    const { code = 'UNKNOWN' } = error;
    return wrong(`no answer (${code})`, remedyForNoAnswer(code));
  }
}

function remedyForNoAnswer(code: string): string {
  if (/^(ENOTFOUND|EAI_AGAIN)$/.test(code)) return 'Make a DNS record of this host, or correct PUBLIC_URL.';
  if (/CERT|TLS|SSL|LEAF_SIGNATURE/.test(code))
    return 'The certificate is not valid for this host: renew it (certbot renew), with its whole chain.';
  return 'Start the proxy in front of the app, and open port 443 in the firewall.';
}

interface DatabaseSubject {
  readonly config: Config;
  readonly database: Database;
}

const MIN_POSTGRES_VERSION = 15;
const MAX_CONNECTIONS_USED = 0.85;

/** Checks of the database server, whatever its tables. */
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
    const known = MIGRATIONS.map((migration) => new migration().name);
    const missing = known.filter((name) => !done.includes(name));
    const unknown = done.filter((name) => !known.includes(name));
    if (missing.length > 0)
      return problem(
        `The database lacks ${missing.length} of ${known.length} migrations (first: ${missing[0]}).`,
        'Run "npm run -s cli -- migrate", or start the server: migrations run on start.',
      );
    if (unknown.length === 0) return ok('All migrations have run.');
    return problem(
      `The database was migrated by a newer version (${unknown[0]}).`,
      'Run the newer version again, or undo its migrations with it before going back.',
    );
  },
};

/** A server whose disk is full still answers what only reads. The table that is made to find out is rolled back. */
async function findWriteError(database: Database): Promise<ReturnType<typeof explainDatabaseError> | null> {
  try {
    await database.transaction((sql) =>
      sql.query('create temporary table doctor_probe on commit drop as select 1 as one'),
    );
    return null;
  } catch (error) {
    // A user may have no right to make temporary tables, which only this check needs.
    return isDatabaseUnavailable(error) ? explainDatabaseError(error, 'DATABASE_URL') : null;
  }
}

const MIN_FREE = { problem: 0.03, warning: 0.1 };

async function checkDisk(dataDir: string): Promise<CheckOutcome> {
  const disk = await statfs(dataDir).catch(() => null);
  if (disk === null || disk.blocks === 0) return ok('No data folder is in use.');
  const share = disk.bavail / disk.blocks;
  const gibibytes = ((disk.bavail * disk.bsize) / 2 ** 30).toFixed(1);
  const free = `${Math.floor(share * 100)} % (${gibibytes} GiB) of the disk is free`;
  if (share >= MIN_FREE.warning) return ok(`${free}.`);
  const severity = share < MIN_FREE.problem ? problem : warning;
  return severity(
    `Only ${free}.`,
    `Free space on the disk of ${dataDir}, or keep payloads for less time with RETENTION_PAYLOAD_DAYS.`,
  );
}

interface ServerSubject extends DatabaseSubject {
  readonly secrets: SecretBox;
  readonly workspaceIds: readonly string[];
  /** The one to which the command is limited; `null`: all. */
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
