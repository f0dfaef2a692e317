import type { Sql } from '../database/sql.ts';
import { createHttpClient } from '../http/client.ts';
import { type Finding, ok, problem, warning } from './check-result.ts';

/** Webhook signatures older than five minutes are refused; most of it would be gone. */
const PROBLEM_MS = 120_000;
const WARNING_MS = 15_000;
const TIMEOUT_MS = 5_000;

const http = createHttpClient({ timeout: TIMEOUT_MS });

export interface ClockReading {
  readonly name: string;
  /** By how much the other clock is ahead of ours, ms; `null`: it did not answer. */
  readonly aheadMs: number | null;
}

/** Asks a server for the time by its `Date` header, which any answer carries, a refusal too. */
export async function readServerClock(name: string, url: string, now: () => number): Promise<ClockReading> {
  const askedMs = now();
  try {
    const answer = await http.get(url);
    const toldMs = Date.parse(String(answer.headers.date ?? ''));
    if (Number.isNaN(toldMs)) return { name, aheadMs: 0 };
    // Whole seconds, cut off: on average half a second has passed since.
    return { name, aheadMs: toldMs + 500 - (askedMs + now()) / 2 };
  } catch {
    return { name, aheadMs: null };
  }
}

export async function readDatabaseClock(sql: Sql, now: () => number): Promise<ClockReading> {
  const askedMs = now();
  const [row] = await sql.query<{ at: Date }>('select clock_timestamp() as at');
  return { name: 'the database', aheadMs: (row?.at.getTime() ?? askedMs) - (askedMs + now()) / 2 };
}

/** What the other clocks say of ours. */
export function checkClock(readings: readonly ClockReading[]): Finding[] {
  const findings = readings
    .filter(({ aheadMs }) => aheadMs === null)
    .map(({ name }) =>
      problem(
        'reachable',
        `${name} does not answer from here.`,
        `Let this server open HTTPS connections to ${name}: check firewall, proxy and DNS, and INTERCOM_API_URL or REVENUECAT_API_URL if one is set.`,
      ),
    );
  const worst = readings
    .filter((reading): reading is ClockReading & { aheadMs: number } => reading.aheadMs !== null)
    .sort((a, b) => Math.abs(b.aheadMs) - Math.abs(a.aheadMs))[0];
  if (!worst) return findings;
  const seconds = Math.round(Math.abs(worst.aheadMs) / 1_000);
  const text = `This server's clock is ${seconds} s ${worst.aheadMs > 0 ? 'behind' : 'ahead of'} that of ${worst.name}.`;
  const remedy =
    'Synchronise the clocks with NTP (chrony or systemd-timesyncd) on this server and on that of the database: signatures and retries depend on them.';
  if (Math.abs(worst.aheadMs) > PROBLEM_MS) return [...findings, problem('clock', text, remedy)];
  if (Math.abs(worst.aheadMs) > WARNING_MS) return [...findings, warning('clock', text, remedy)];
  return [...findings, ok('clock', 'The clock agrees with those of the database and the platforms.')];
}
