import { isIP } from 'node:net';
import { resolve } from 'node:path';
import dotenv from 'dotenv';
import { z } from 'zod';

export interface ConfigProblem {
  readonly name: string;
  readonly message: string;
}

/** Payment disputes go back at most half a year. */
const DEFAULT_RETENTION_DAYS = 180;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** A blank variable counts as absent: `.env` files keep `NAME=` lines for what is not set. */
const blankToUndefined = (value: unknown): unknown =>
  typeof value === 'string' ? value.trim() || undefined : value;

const optional = z.preprocess(blankToUndefined, z.string().optional());

/** A whole number within bounds; a blank variable means the default. */
const whole = (min: number, max: number, message: string) =>
  z.preprocess(
    blankToUndefined,
    z.coerce.number({ error: message }).int(message).min(min, message).max(max, message).optional(),
  );

const originSchema = z.string().transform((value, context): string => {
  const url = URL.parse(value);
  if (url && /^https?:$/.test(url.protocol)) {
    if (url.href === `${url.origin}/`) return url.origin;
    context.addIssue('must be an origin without a path, such as https://app.example.com');
  } else context.addIssue('must be an http(s) address, such as https://app.example.com');
  return z.NEVER;
});

const oneOf = <const Values extends readonly [string, ...string[]]>(
  values: Values,
  fallback: Values[number],
) =>
  optional.pipe(z.enum(values, { error: `must be one of ${values.join(', ')}` }).default(fallback as never));

const trustedProxiesSchema = z.string().transform((value, context): string[] => {
  const proxies = value.split(',').map((part) => part.trim());
  for (const proxy of proxies) {
    const [address = '', bits] = proxy.split('/');
    const maxBits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0;
    const isSubnet = maxBits > 0 && (bits === undefined || (/^[1-9]\d*$/.test(bits) && +bits <= maxBits));
    if (!isSubnet && !['loopback', 'linklocal', 'uniquelocal'].includes(proxy))
      context.addIssue('must be addresses or subnets, comma-separated, such as 10.0.0.0/8, or loopback');
  }
  return proxies;
});

const MAKE_KEY = 'make one with: openssl rand -base64 32';

/** 32 bytes each; the first encrypts, all decrypt. */
const keysSchema = z.string().transform((value, context): readonly Buffer[] => {
  const texts = value.split(',').map((part) => part.trim());
  const given = texts.filter((text) => text !== '');
  const keys = given.map((text) => Buffer.from(text, 'base64'));
  // Buffer skips what is not base64 and stops at the first "=": without a comma, the second of two keys would be lost.
  if (given.length === 0 || !given.every((text) => /^[\w+/-]{43}=?$/.test(text)))
    context.addIssue(`must be 32-byte keys in base64, comma-separated; ${MAKE_KEY}`);
  return keys;
});

const databaseUrlSchema = z
  .string()
  .regex(/^postgres(ql)?:\/\//i, 'must start with postgres://')
  .refine(
    (text) => URL.canParse(text) && isDecodable(text),
    'is not an address: write / # ? % of a user or password as %2F %23 %3F %25',
  )
  .transform(withExplicitTls);

/** node-postgres treats these modes as `verify-full` and warns about them; this name gives no warning. */
function withExplicitTls(url: string): string {
  return url.includes('uselibpqcompat=')
    ? url
    : url.replace(/(?<=[?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, 'verify-full');
}

const proxySchema = z
  .string()
  .refine(
    (text) => /^(https?|socks5?):\/\//i.test(text) && URL.canParse(text),
    'must be an address with its scheme, such as http://proxy.example.com:3128',
  );

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

const environmentSchema = z.object({
  NODE_ENV: optional,
  PORT: whole(0, 65_535, 'must be a port number from 0 to 65535'),
  HOST: optional,
  TRUSTED_PROXIES: optional.pipe(trustedProxiesSchema.optional()),
  PUBLIC_URL: optional.pipe(originSchema.optional()),
  DATABASE_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_READ_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_DIRECT_URL: optional.pipe(databaseUrlSchema.optional()),
  DATABASE_POOL_SIZE: whole(5, 500, 'must be a number from 5 to 500'),
  DATABASE_BACKEND: oneOf(['postgres', 'citus'], 'postgres'),
  DATA_DIR: optional.pipe(z.string().default('.data')),
  INTERCOM_CLIENT_ID: optional.pipe(z.string({ error: 'is required: Developer Hub, Basic information' })),
  INTERCOM_CLIENT_SECRET: optional.pipe(z.string({ error: 'is required: Developer Hub, Basic information' })),
  INTERCOM_API_URL: optional.pipe(originSchema.optional()),
  INTERCOM_APP_URL: optional.pipe(z.string().default('https://app.intercom.com')).pipe(originSchema),
  REVENUECAT_API_URL: optional.pipe(z.string().default('https://api.revenuecat.com')).pipe(originSchema),
  ENCRYPTION_KEYS: optional.pipe(keysSchema.optional()),
  ROLE: oneOf(['all', 'web', 'worker'], 'all'),
  LOG_LEVEL: oneOf(LOG_LEVELS, 'info'),
  METRICS_TOKEN: optional,
  RETENTION_PAYLOAD_DAYS: whole(0, 36_500, 'must be a number of days, or 0 to keep payloads whole'),
  DRAIN_SECONDS: whole(0, 300, 'must be a number of seconds from 0 to 300'),
  // The HTTP client for outgoing calls reads both spellings.
  HTTPS_PROXY: optional.pipe(proxySchema.optional()),
  HTTP_PROXY: optional.pipe(proxySchema.optional()),
  https_proxy: optional.pipe(proxySchema.optional()),
  http_proxy: optional.pipe(proxySchema.optional()),
});

export type Config = Readonly<ReturnType<typeof toConfig>>;

function toConfig(env: z.output<typeof environmentSchema>, production: boolean) {
  const port = env.PORT ?? 3_000;
  const publicUrl = env.PUBLIC_URL ?? `http://localhost:${port}`;
  return {
    production,
    port,
    /** Address to listen on; `null`: all interfaces. */
    host: env.HOST ?? null,
    /** Proxies whose `X-Forwarded-For` is trusted: addresses, subnets, or `loopback`, `linklocal`, `uniquelocal`. */
    trustedProxies: env.TRUSTED_PROXIES ?? ['loopback'],
    /** Without a final slash. */
    publicUrl,
    /** Where Intercom's pages load pictures from. They need HTTPS; without it there are no pictures. */
    picturesUrl: publicUrl,
    /** `null`: the embedded PostgreSQL under `dataDir`. */
    databaseUrl: env.DATABASE_URL ?? null,
    /** A streaming replica of the database, for the reads of cards and pages; `null`: none. */
    databaseReadUrl: env.DATABASE_READ_URL ?? null,
    /** The database without the connection pooler, for work that needs a session; `null`: `databaseUrl`. */
    databaseDirectUrl: env.DATABASE_DIRECT_URL ?? null,
    /** Maximum connections of one process, for the database and for its replica each. */
    databasePoolSize: env.DATABASE_POOL_SIZE ?? 20,
    databaseBackend: env.DATABASE_BACKEND,
    dataDir: resolve(env.DATA_DIR),
    intercom: {
      clientId: env.INTERCOM_CLIENT_ID,
      clientSecret: env.INTERCOM_CLIENT_SECRET,
      /** `null`: the host of the workspace's region. */
      apiUrl: env.INTERCOM_API_URL ?? null,
      appUrl: env.INTERCOM_APP_URL,
    },
    revenueCatApiUrl: env.REVENUECAT_API_URL,
    encryptionKeys: env.ENCRYPTION_KEYS ?? [],
    role: env.ROLE,
    logLevel: env.LOG_LEVEL as string,
    /** Bearer token of `/metrics`; `null`: none. */
    metricsToken: env.METRICS_TOKEN ?? null,
    /** After how many days raw payloads of webhooks are deleted; `null`: never. */
    payloadRetentionDays: (env.RETENTION_PAYLOAD_DAYS ?? DEFAULT_RETENTION_DAYS) || null,
    /** How long a stopping process still accepts requests, so that the load balancer notices, seconds. */
    drainSeconds: env.DRAIN_SECONDS ?? (production ? 5 : 0),
  };
}

/**
 * Reads the settings of the environment.
 *
 * All problems are reported together. Outside production a missing encryption key is left to the caller, which keeps
 * one in `DATA_DIR`.
 */
export function readConfig(
  environment: Readonly<Record<string, string | undefined>>,
): { ok: true; config: Config } | { ok: false; problems: ConfigProblem[] } {
  const parsed = environmentSchema.safeParse(environment);
  const problems: ConfigProblem[] = [];
  /** Reports only the first problem of a variable. */
  const report = (name: string, message: string): void => {
    if (!problems.some((problem) => problem.name === name)) problems.push({ name, message });
  };
  for (const issue of parsed.error?.issues ?? []) report(issue.path.join('.'), issue.message);
  const production = environment.NODE_ENV?.trim() === 'production';
  const isSet = (name: string): boolean => Boolean(environment[name]?.trim());
  if (production && !isSet('ENCRYPTION_KEYS'))
    report('ENCRYPTION_KEYS', `is required in production; ${MAKE_KEY}`);
  if (production && !/^\s*https:\/\//i.test(environment.PUBLIC_URL ?? ''))
    report('PUBLIC_URL', 'is required in production and must start with https://');
  if (isSet('DATABASE_READ_URL') && !isSet('DATABASE_URL'))
    report('DATABASE_READ_URL', 'needs DATABASE_URL: it is a replica of that server');
  if (isSet('DATABASE_DIRECT_URL') && !isSet('DATABASE_URL'))
    report('DATABASE_DIRECT_URL', 'needs DATABASE_URL: it is that server without the pooler');
  if (isSet('DATABASE_READ_URL') && (environment.DATABASE_BACKEND?.trim() || 'postgres') !== 'postgres')
    report('DATABASE_READ_URL', 'is for PostgreSQL only: Citus distributes reads over its nodes');
  if (!parsed.success || problems.length > 0) return { ok: false, problems };

  return { ok: true, config: toConfig(parsed.data, production) };
}

export function readEnvFile(): void {
  const { error } = dotenv.config({ quiet: true });
  if (error && (error as NodeJS.ErrnoException).code !== 'ENOENT')
    process.stderr.write(`.env cannot be read: ${error.message}\n`);
}

/** Reads the environment and `.env`, or prints every problem and exits. */
export function loadConfig(overrides: Readonly<Record<string, string>>): Config {
  readEnvFile();
  return checkConfig(overrides);
}

function checkConfig(overrides: Readonly<Record<string, string>>): Config {
  const result = readConfig({ ...process.env, ...overrides });
  if (result.ok) return result.config;
  process.stderr.write('These settings are missing or wrong (see .env.example):\n');
  for (const problem of result.problems) process.stderr.write(`  ${problem.name} ${problem.message}\n`);
  process.exit(1);
}

/** {@link loadConfig} for commands that need the database, not the Intercom app. */
export function loadCommandConfig(): Config {
  readEnvFile();
  return checkConfig({
    INTERCOM_CLIENT_ID: process.env.INTERCOM_CLIENT_ID || 'unused',
    INTERCOM_CLIENT_SECRET: process.env.INTERCOM_CLIENT_SECRET || 'unused',
  });
}
