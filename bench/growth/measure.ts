import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { pino } from 'pino';
import { Agent, request } from 'undici';
import type { Database } from '../../src/database/sql.ts';
import { claimNext, releaseClaim } from '../../src/delivery/claims.ts';
import { createJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import { listDeliveries } from '../../src/settings/deliveries-repository.ts';
import {
  readActivity,
  readDeliveredKinds,
  readKindCounts,
  readMatching,
  readOverview,
  readTimeToContact,
} from '../../src/settings/repository.ts';
import { defaultEventName, EVENT_KINDS } from '../../src/subscription/kinds.ts';
import { createSecretBox } from '../../src/workspaces/secrets.ts';
import { median, quantile } from '../report.ts';
import { CLIENT_SECRET, PROJECT_ID, WORKSPACE_ID } from '../setting.ts';
import { HEAVY_CUSTOMER, HEAVY_EVENTS } from './fill.ts';

export interface Times {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type GrowthRow = Awaited<ReturnType<typeof measure>>;

const PROJECT = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
/** Concurrent senders of webhooks. */
const SENDERS = 64;
const CLAIM_SIZE = 32;

function timesOf(samples: readonly number[]): Times {
  return { p50Ms: median(samples), p99Ms: quantile(samples, 0.99) };
}

export async function measure(input: {
  events: number;
  database: Database;
  client: pg.Client;
  appUrl: string;
  seconds: number;
}) {
  const { events, database, client, seconds } = input;
  const customers = events / 10;
  /** Customers with even numbers belong to the large workspace. */
  const randomCustomer = (): string => `user-${2 * Math.floor(1 + Math.random() * (customers / 2 - 1))}`;
  const openCard = createOpener(input.appUrl);
  return {
    events,
    ...(await measureCards(openCard, randomCustomer)),
    ...(await measurePages(openCard)),
    settings: await measureSettings(database),
    ...(await measureWebhooks(database, randomCustomer, seconds)),
    claim: await measureClaims(database, client),
    ...(await readSizes(client)),
  };
}

/** A customer's first card computes the summary, the second reads the stored one. */
async function measureCards(openCard: OpenCard, randomCustomer: () => string) {
  const first: number[] = [];
  const again: number[] = [];
  for (const id of new Set(Array.from({ length: 600 }, randomCustomer))) {
    first.push((await openCard(id, null)).ms);
    again.push((await openCard(id, null)).ms);
  }
  return { firstCard: timesOf(first.slice(50)), card: timesOf(again.slice(50)) };
}

async function measurePages(openCard: OpenCard) {
  const pages: number[] = [];
  let shown = await openCard(HEAVY_CUSTOMER, 'timeline');
  for (let page = 1; page < HEAVY_EVENTS / 10 - 2; page += 1) {
    shown = await openCard(HEAVY_CUSTOMER, 'timeline:older', shown.storedData);
    pages.push(shown.ms);
  }
  return { firstPage: timesOf(pages.slice(0, 60)), deepPage: timesOf(pages.slice(-60)) };
}

/** Appends webhooks to the journal, without measuring the first second, and then interprets them. */
async function measureWebhooks(database: Database, randomCustomer: () => string, seconds: number) {
  const journal = createJournal(database, () => {});
  const warmUntilMs = performance.now() + 1_000;
  const untilMs = warmUntilMs + seconds * 1_000;
  const samples: number[] = [];
  const sendUntilDone = async (): Promise<void> => {
    for (let begunMs = performance.now(); begunMs <= untilMs; begunMs = performance.now()) {
      const id = Math.random() < 0.2 ? `new-${randomUUID()}` : randomCustomer();
      const body = Buffer.from(JSON.stringify({ event: renewal(id) }));
      await journal.append(PROJECT, checkWebhook(body));
      if (begunMs > warmUntilMs) samples.push(performance.now() - begunMs);
    }
  };
  await Promise.all(Array.from({ length: SENDERS }, sendUntilDone));
  const secrets = createSecretBox([randomBytes(32)]);
  await processProject({ database, secrets, logger: pino({ level: 'silent' }) }, PROJECT);
  return { webhooksPerSecond: samples.length / seconds, webhook: timesOf(samples) };
}

async function measureClaims(database: Database, client: pg.Client): Promise<Times> {
  await client.query(`update subscribers set due_at = null where workspace_id = $1 and due_at is not null`, [
    WORKSPACE_ID,
  ]);
  await client.query(
    `update subscribers set due_at = now() where workspace_id = $1 and subscriber_id in
       (select subscriber_id from subscribers where workspace_id = $1 and merged_into is null limit 5000)`,
    [WORKSPACE_ID],
  );
  const owner = randomUUID();
  const samples: number[] = [];
  for (let round = 0; round < 140; ) {
    const begunMs = performance.now();
    const claims = await claimNext(database, WORKSPACE_ID, { owner, limit: CLAIM_SIZE });
    const tookMs = performance.now() - begunMs;
    if (claims.length < CLAIM_SIZE) {
      // A small database has too few subscribers for all rounds. Releases them and does not count this round.
      if (round === 0) throw new Error('too few were due');
      await client.query(
        `update subscribers set lease_until = null, lease_owner = null where workspace_id = $1 and lease_owner = $2`,
        [WORKSPACE_ID, owner],
      );
      continue;
    }
    samples.push(tookMs);
    const [first] = claims;
    if (round % 4 === 0 && first) await releaseClaim(database, first);
    round += 1;
  }
  return timesOf(samples.slice(10));
}

async function readSizes(client: pg.Client) {
  const { rows } = await client.query<{ events: string; all: string; count: string }>(
    `select pg_total_relation_size('events') as events, pg_database_size(current_database()) as all,
            (select count(*) from events) as count`,
  );
  const [sizes] = rows;
  return {
    bytesPerEvent: Number(sizes?.events) / Number(sizes?.count),
    databaseGiB: Number(sizes?.all) / 2 ** 30,
  };
}

/** Times of the slowest of the reads that the settings pages make. */
async function measureSettings(database: Database): Promise<Times> {
  const everything = { show: 'all', customer: null, kind: null, before: null, limit: 50 } as const;
  const reads: readonly (() => Promise<unknown>)[] = [
    () => readOverview(database, WORKSPACE_ID),
    () => readKindCounts(database, WORKSPACE_ID),
    () => readMatching(database, WORKSPACE_ID),
    () => readActivity(database, WORKSPACE_ID, 'Europe/Dublin'),
    () => readTimeToContact(database, WORKSPACE_ID),
    () =>
      readDeliveredKinds(
        database,
        WORKSPACE_ID,
        new Map(EVENT_KINDS.map((kind) => [kind, defaultEventName(kind)])),
      ),
    () => listDeliveries(database, WORKSPACE_ID, everything),
    () => listDeliveries(database, WORKSPACE_ID, { ...everything, show: 'failed' }),
    () => listDeliveries(database, WORKSPACE_ID, { ...everything, kind: 'refund' }),
  ];
  let slowest: Times = { p50Ms: 0, p99Ms: 0 };
  for (const read of reads) {
    const samples: number[] = [];
    for (let round = 0; round < 22; round += 1) {
      const begunMs = performance.now();
      await read();
      if (round >= 2) samples.push(performance.now() - begunMs);
    }
    const times = timesOf(samples);
    if (times.p50Ms > slowest.p50Ms) slowest = times;
  }
  return slowest;
}

/** A renewal as RevenueCat sends it. */
export function renewal(appUserId: string): Record<string, unknown> {
  const nowMs = Date.now();
  return {
    id: randomUUID(),
    type: 'RENEWAL',
    app_id: 'app1a2b3c4d',
    event_timestamp_ms: nowMs,
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [appUserId],
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    period_type: 'NORMAL',
    purchased_at_ms: nowMs,
    expiration_at_ms: nowMs + 30 * 86_400_000,
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    is_family_share: false,
    country_code: 'US',
    currency: 'USD',
    price: 9.99,
    price_in_purchased_currency: 9.99,
    tax_percentage: 0,
    commission_percentage: 0.3,
    takehome_percentage: 0.7,
    transaction_id: randomUUID(),
    original_transaction_id: `original-${appUserId}`,
    renewal_number: 3,
    is_trial_conversion: false,
    subscriber_attributes: { $email: { value: `${appUserId}@example.com`, updated_at_ms: nowMs } },
  };
}

type OpenCard = ReturnType<typeof createOpener>;

/** Opens cards of the running app, one request at a time over one connection. */
function createOpener(appUrl: string) {
  const agent = new Agent({ connections: 1 });
  return async (externalId: string, componentId: string | null, storedData: unknown = {}) => {
    const pressed = {
      component_id: componentId,
      input_values: {},
      current_canvas: { stored_data: storedData },
    };
    const body = JSON.stringify({
      workspace_id: WORKSPACE_ID,
      admin: { id: '1', name: 'Bench' },
      contact: { id: `contact-${externalId}`, external_id: externalId },
      conversation: { id: '1' },
      ...(componentId === null ? {} : pressed),
    });
    const signature = createHmac('sha256', CLIENT_SECRET).update(body).digest('hex');
    const begunMs = performance.now();
    const answer = await request(`${appUrl}/canvas/inbox/${componentId === null ? 'initialize' : 'submit'}`, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', 'x-body-signature': signature },
      body,
    });
    const text = await answer.body.text();
    const ms = performance.now() - begunMs;
    if (answer.statusCode !== 200 || !/"id":"(timeline|event:[^"]+)"/.test(text))
      throw new Error(`${componentId}: ${answer.statusCode} ${text.slice(0, 300)}`);
    const { canvas } = JSON.parse(text) as { canvas: { stored_data?: unknown } };
    return { ms, storedData: canvas.stored_data };
  };
}
