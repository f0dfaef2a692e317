import { AppError, codeOf, isDatabaseUnavailable } from '../errors.ts';
import { withoutValues } from '../logger.ts';

const UNAVAILABLE =
  'See that PostgreSQL runs and that host, user, password and database name in {setting} are right.';
const NOTHING_ANSWERS =
  'Nothing answers there: check host and port in {setting}, and the firewall between this machine and PostgreSQL.';

/** What helps against each cause, by SQLSTATE (PostgreSQL, appendix A), errno, Node's TLS error code or the message. */
const REMEDIES: readonly (readonly [codeOrMessage: RegExp, remedy: string])[] = [
  [
    /^(ENOTFOUND|EAI_AGAIN)$/,
    'No such host: correct the host in {setting}, or the DNS of this machine (getent hosts <host>).',
  ],
  [
    /^ECONNREFUSED$/,
    'Nothing listens there: start PostgreSQL (systemctl status postgresql), correct host and port in {setting}, or let PostgreSQL listen on that address (listen_addresses).',
  ],
  [/^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/, NOTHING_ANSWERS],
  [
    /^(28P01|28000)$/,
    'PostgreSQL refuses the user: correct user and password in {setting} (characters such as @ or / are written as %40, %2F), or set a new one: alter role <user> password \'…\'. "no pg_hba.conf entry": allow this machine there.',
  ],
  [/^3D000$/, 'Correct the name at the end of {setting}, or make it: createdb --owner=<user> <name>.'],
  [
    /^(53300|53400)$/,
    'PostgreSQL has no connection left: raise max_connections, lower DATABASE_POOL_SIZE, or put PgBouncer in front of it.',
  ],
  [/^57P03$/, "PostgreSQL is starting or stopping: try again in a minute, and read PostgreSQL's own log."],
  [
    /^(57014|55P03|25P0[34]|57P05)$/,
    "A time limit that is set in PostgreSQL ended it: raise statement_timeout, lock_timeout or the one that the message names, such as with: alter role <user> set statement_timeout = '5min'.",
  ],
  [
    /^22P05$/,
    'The database is not in UTF-8: make one with createdb --encoding=UTF8 --template=template0, and name it in {setting}.',
  ],
  [/^53100$/, 'The disk of the database is full: make room there.'],
  [
    /^25006$/,
    'The server is read-only, such as a standby: set {setting} to the primary, or see default_transaction_read_only.',
  ],
  [/^42501$/, 'The user may not do that: grant all on database <name> and on schema public to the user.'],
  [
    /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|CERT_HAS_EXPIRED|ERR_TLS_CERT_ALTNAME_INVALID)$/,
    "This machine does not trust the server's certificate: add &sslrootcert=<file> with its authority to {setting}, or sslmode=no-verify in a network that you trust.",
  ],
  [
    /does not support SSL/,
    'Leave sslmode out of {setting}, or switch TLS on in PostgreSQL (ssl = on in postgresql.conf).',
  ],
  [
    /^(ENOENT|EACCES|EISDIR): .*, (open|read)/,
    'A file that {setting} names (sslrootcert, sslcert, sslkey) cannot be read: correct its path, or let this user read it.',
  ],
  [
    /^Query read timeout/,
    'It did not answer a statement within 20 seconds: see in pg_stat_activity what it does or waits for, run "analyze" after a restore, and check the network.',
  ],
  [/Connection terminated|timeout/i, NOTHING_ANSWERS],
];

export type DatabaseSetting = 'DATABASE_URL' | 'DATABASE_READ_URL' | 'DATABASE_DIRECT_URL';

/**
 * Why a database cannot be used, and what helps against this cause.
 *
 * @returns `remedy` is `null` when the cause is unknown and the error does not mean that the database is unavailable
 */
export function explainDatabaseError(
  error: unknown,
  setting: DatabaseSetting,
): { readonly message: string; readonly remedy: string | null } {
  const { code, message } = causeOf(error);
  const [, specific = null] = REMEDIES.find(([cause]) => cause.test(code) || cause.test(message)) ?? [];
  const remedy = specific ?? (isDatabaseUnavailable(error) ? UNAVAILABLE : null);
  return { message, remedy: remedy?.replaceAll('{setting}', setting) ?? null };
}

/** The innermost error is the most precise; Node tries several addresses of a host and collects their errors. */
function causeOf(error: unknown): { code: string; message: string } {
  let found = error;
  for (let depth = 0; depth < 4; depth += 1) {
    const { cause, driverError, errors } = (found ?? {}) as Record<string, unknown>;
    const inner = driverError ?? cause ?? (Array.isArray(errors) ? errors[0] : undefined);
    if (!(inner instanceof Error)) break;
    found = inner;
  }
  const name = codeOf(found) ?? '';
  const shown = error instanceof AppError ? error : found;
  const text = shown instanceof Error ? shown.message : '';
  return { code: name, message: withoutValues(text || name || 'unknown') };
}
