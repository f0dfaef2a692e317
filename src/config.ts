import { resolve } from 'node:path';
import { z } from 'zod';

export interface Config {
  readonly production: boolean;
  readonly port: number;
  /** Without a slash at its end. */
  readonly publicUrl: string;
  /** `null`: the embedded PostgreSQL under `dataDir`. */
  readonly databaseUrl: string | null;
  /** A streaming replica of the database, for the reads of cards and pages; `null`: none. */
  readonly databaseReadUrl: string | null;
  /** The database past a connection pooler, for what needs a session of its own; `null`: `databaseUrl` serves. */
  readonly databaseDirectUrl: string | null;
  /** Connections that one process opens at most, for each of the database and its replica. */
  readonly databasePoolSize: number;
  readonly databaseBackend: 'postgres' | 'citus' | 'yugabytedb';
  readonly dataDir: string;
  readonly intercom: {
    readonly clientId: string;
    readonly clientSecret: string;
    /** `null`: the host of the workspace's region. */
    readonly apiUrl: string | null;
    readonly appUrl: string;
  };
  readonly revenueCatApiUrl: string;
  /** 32 bytes each; the first encrypts, all decrypt. */
  readonly encryptionKeys: readonly Buffer[];
  readonly role: 'all' | 'web' | 'worker';
  readonly logLevel: string;
  /** Bearer token that `/metrics` asks for; `null`: none. */
  readonly metricsToken: string | null;
  /** After how many days what is not needed of a webhook's payload is dropped; `null`: never. */
  readonly payloadRetentionDays: number | null;
  /** How long a stopping process still answers new requests while the load balancer turns away from it, seconds. */
  readonly drainSeconds: number;
}

export interface ConfigProblem {
  readonly name: string;
  readonly message: string;
}

/** Disputes about a payment reach back half a year at most. */
const USUAL_RETENTION_DAYS = 180;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** An empty variable counts as absent: `.env` files keep `NAME=` lines for what is not set. */
const optional = z.preprocess((value) => (value === '' ? undefined : value), z.string().optional());
const port = z.preprocess(
  (value) => (value === '' ? undefined : value),
  z.coerce.number({ error: 'must be a port number' }).int().min(0).max(65535).default(3000),
);

/** A whole number within bounds; an empty variable means the default. */
const whole = (least: number, most: number, message: string) =>
  z.preprocess(
    (value) => (value === '' ? undefined : value),
    z.coerce.number({ error: message }).int(message).min(least, message).max(most, message).optional(),
  );

const originSchema = z
  .url({ protocol: /^https?$/, error: 'must be an http(s) address' })
  .refine((value) => new URL(value).pathname === '/', 'must be an origin without a path');

const databaseUrlSchema = z.url({ protocol: /^postgres(ql)?$/, error: 'must start with postgres://' });

const environmentSchema = z.object({
  NODE_ENV: optional,
  PORT: port,
  PUBLIC_URL: optional.pipe(originSchema.optional()),
  DATABASE_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_READ_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_DIRECT_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_POOL_SIZE: whole(5, 500, 'must be a number from 5 to 500'),
  DATABASE_BACKEND: optional.pipe(z.enum(['postgres', 'citus', 'yugabytedb']).default('postgres')),
  DATA_DIR: optional.pipe(z.string().default('.data')),
  INTERCOM_CLIENT_ID: optional.pipe(z.string({ error: 'is required: Developer Hub, Basic information' })),
  INTERCOM_CLIENT_SECRET: optional.pipe(z.string({ error: 'is required: Developer Hub, Basic information' })),
  INTERCOM_API_URL: optional.pipe(originSchema.optional()),
  INTERCOM_APP_URL: optional.pipe(originSchema.default('https://app.intercom.com')),
  REVENUECAT_API_URL: optional.pipe(originSchema.default('https://api.revenuecat.com')),
  ENCRYPTION_KEYS: optional,
  ROLE: optional.pipe(z.enum(['all', 'web', 'worker']).default('all')),
  LOG_LEVEL: optional.pipe(z.enum(LOG_LEVELS).default('info')),
  METRICS_TOKEN: optional,
  RETENTION_PAYLOAD_DAYS: whole(0, 36_500, 'must be a number of days, or 0 to keep payloads whole'),
  DRAIN_SECONDS: whole(0, 300, 'must be a number of seconds from 0 to 300'),
});

/**
 * Reads the settings of the environment.
 *
 * All problems are found at once, so that an operator fixes them in one go. Outside production a missing
 * encryption key is left to the caller, which keeps one in `DATA_DIR`.
 */
export function readConfig(
  environment: Readonly<Record<string, string | undefined>>,
): { ok: true; config: Config } | { ok: false; problems: ConfigProblem[] } {
  const parsed = environmentSchema.safeParse(environment);
  const problems: ConfigProblem[] = [];
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      problems.push({ name: issue.path.join('.'), message: issue.message });
    }
  }
  const production = environment.NODE_ENV === 'production';
  const keys = readEncryptionKeys(environment.ENCRYPTION_KEYS ?? '');
  if (keys === null) {
    problems.push({
      name: 'ENCRYPTION_KEYS',
      message: 'must be 32-byte keys in base64, comma-separated; make one with: openssl rand -base64 32',
    });
  } else if (production && keys.length === 0) {
    problems.push({
      name: 'ENCRYPTION_KEYS',
      message: 'is required in production; make one with: openssl rand -base64 32',
    });
  }
  if (production && !environment.PUBLIC_URL?.startsWith('https://')) {
    problems.push({ name: 'PUBLIC_URL', message: 'is required in production and must start with https://' });
  }
  if (environment.DATABASE_READ_URL && !environment.DATABASE_URL) {
    problems.push({
      name: 'DATABASE_READ_URL',
      message: 'needs DATABASE_URL: it names a replica of that server',
    });
  }
  if (environment.DATABASE_READ_URL && (environment.DATABASE_BACKEND || 'postgres') !== 'postgres') {
    problems.push({
      name: 'DATABASE_READ_URL',
      message: 'is for PostgreSQL alone: Citus and YugabyteDB spread their reads themselves',
    });
  }
  if (!parsed.success || problems.length > 0) return { ok: false, problems };

  const env = parsed.data;
  return {
    ok: true,
    config: {
      production,
      port: env.PORT,
      publicUrl: (env.PUBLIC_URL ?? `http://localhost:${env.PORT}`).replace(/\/$/, ''),
      databaseUrl: env.DATABASE_URL ?? null,
      databaseReadUrl: env.DATABASE_READ_URL ?? null,
      databaseDirectUrl: env.DATABASE_DIRECT_URL ?? null,
      databasePoolSize: env.DATABASE_POOL_SIZE ?? 20,
      databaseBackend: env.DATABASE_BACKEND,
      dataDir: resolve(env.DATA_DIR),
      intercom: {
        clientId: env.INTERCOM_CLIENT_ID,
        clientSecret: env.INTERCOM_CLIENT_SECRET,
        apiUrl: env.INTERCOM_API_URL?.replace(/\/$/, '') ?? null,
        appUrl: env.INTERCOM_APP_URL.replace(/\/$/, ''),
      },
      revenueCatApiUrl: env.REVENUECAT_API_URL.replace(/\/$/, ''),
      encryptionKeys: keys ?? [],
      role: env.ROLE,
      logLevel: env.LOG_LEVEL,
      metricsToken: env.METRICS_TOKEN ?? null,
      payloadRetentionDays: (env.RETENTION_PAYLOAD_DAYS ?? USUAL_RETENTION_DAYS) || null,
      drainSeconds: env.DRAIN_SECONDS ?? (production ? 5 : 0),
    },
  };
}

function readEncryptionKeys(value: string): Buffer[] | null {
  const keys: Buffer[] = [];
  for (const part of value.split(',')) {
    const text = part.trim();
    if (text === '') continue;
    const key = Buffer.from(text, 'base64');
    if (key.length !== 32) return null;
    keys.push(key);
  }
  return keys;
}
