import { statfs } from 'node:fs/promises';
import { type AxiosResponse, isAxiosError } from 'axios';
import type { Config } from '../config.ts';
import { queryRow, type Sql } from '../database/sql.ts';
import { type CheckOutcome, type Checks, ok, problem, warning } from './check.ts';
import { UNKNOWN_URL } from './settings-checks.ts';

/** Requests an address. @throws AxiosError if there is no response */
export type RequestUrl = (url: string) => Promise<Pick<AxiosResponse, 'status' | 'data' | 'headers'>>;

export interface ClockOffset {
  readonly name: string;
  /** How far the other clock is ahead of ours, ms; `null`: it did not answer. */
  readonly aheadMs: number | null;
}

/** Reads a server's time from its `Date` header, which every response has, even a refusal. */
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
    // The header has whole seconds, rounded down: on average half a second has passed since.
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

/** Webhook signatures older than five minutes are refused: a wrong clock uses up a part of that time. */
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
