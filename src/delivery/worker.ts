import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import { createIntercomClient, type IntercomClient, intercomApiUrl } from '../intercom/client.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { readWorkspace, sealedAs, type Workspace } from '../workspaces/store.ts';
import { type DeliveryContext, deliverSubscriber } from './deliver.ts';
import { createRateGate, type RateGate } from './rate-gate.ts';
import {
  type Claim,
  claimSubscribers,
  finishClaim,
  LEASE_SECONDS,
  listDueWorkspaces,
  releaseClaim,
  renewLeases,
} from './store.ts';

export interface WorkerOptions {
  readonly database: Database;
  /** For the connection that listens. */
  readonly databaseUrl: string;
  readonly logger: Logger;
  readonly secrets: SecretBox;
  readonly intercomApiUrl: string | null;
  readonly now?: () => number;
  readonly random?: () => number;
  /** Subscribers in hand at once. */
  readonly concurrency?: number;
  readonly count?: DeliveryContext['count'];
  /** Asks for a new snapshot of a subscriber after its events. */
  readonly requestRefresh?: DeliveryContext['requestRefresh'];
  /** How long a call to Intercom may take, ms. */
  readonly callTimeoutMs?: number;
}

export interface DeliveryWorker {
  start(): void;
  /** Finishes what is in hand; takes nothing new. */
  stop(): Promise<void>;
  /** Looks for work at once. */
  wake(): void;
  inHand(): number;
}

/** The safety net behind NOTIFY. */
const POLL_MS = 1_000;
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3;
const AFTER_FAILURE_MS = 500;

/**
 * Claims due subscribers, workspace by workspace so that each gets its share, and delivers them in parallel.
 * A lost database ends nothing: the loop goes on when it is back, and the leases of what was in hand run out.
 */
export function createDeliveryWorker(options: WorkerOptions): DeliveryWorker {
  const { database, logger } = options;
  const now = options.now ?? Date.now;
  const owner = randomUUID();
  const concurrency = options.concurrency ?? 32;
  const held = new Map<string, Claim>();
  const running = new Set<Promise<void>>();
  const gates = new Map<string, RateGate>();
  let stopping = false;
  let loop: Promise<void> | null = null;
  let listener: pg.Client | null = null;
  let renewal: NodeJS.Timeout | null = null;
  let nudge: () => void = () => {};
  let nudged = false;

  const context: DeliveryContext = {
    database,
    logger,
    now,
    random: options.random ?? Math.random,
    count: options.count ?? (() => {}),
    requestRefresh: options.requestRefresh ?? (() => Promise.resolve()),
    hold: (workspaceId, untilMs) => gateOf(workspaceId).hold(untilMs),
  };

  function gateOf(workspaceId: string): RateGate {
    let gate = gates.get(workspaceId);
    if (!gate) {
      gate = createRateGate(now);
      gates.set(workspaceId, gate);
    }
    return gate;
  }

  function wake(): void {
    nudged = true;
    nudge();
  }

  async function run(): Promise<void> {
    while (!stopping) {
      nudged = false;
      let found = 0;
      let pauseMs = POLL_MS;
      try {
        found = await claimRound();
      } catch (error) {
        pauseMs = AFTER_FAILURE_MS;
        logger.warn(
          { err: error, unavailable: isDatabaseUnavailable(error) },
          'could not look for deliveries',
        );
      }
      if (found === 0 && !nudged && !stopping) await pause(pauseMs);
    }
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, delayMs);
      function done(): void {
        clearTimeout(timer);
        nudge = () => {};
        resolve();
      }
      nudge = done;
    });
  }

  /** Gives every due workspace an equal part of the free hands; what one does not need goes to the next. */
  async function claimRound(): Promise<number> {
    let free = concurrency - held.size;
    if (free <= 0) {
      await Promise.race(running);
      return 1;
    }
    const due = await listDueWorkspaces(database);
    let claimed = 0;
    for (const [index, workspaceId] of due.entries()) {
      if (free <= 0 || stopping) break;
      const share = Math.max(1, Math.ceil(free / (due.length - index)));
      const claims = await claimSubscribers(database, workspaceId, owner, Math.min(share, free));
      if (claims.length === 0) continue;
      claimed += claims.length;
      free -= claims.length;
      for (const claim of claims) held.set(claim.subscriberId, claim);
      const workspace = await readWorkspace(database, workspaceId);
      const client = workspace ? clientFor(workspace) : null;
      for (const claim of claims) {
        const work = deliverClaim(claim, workspace, client).finally(() => {
          held.delete(claim.subscriberId);
          running.delete(work);
          wake();
        });
        running.add(work);
      }
    }
    return claimed;
  }

  async function deliverClaim(
    claim: Claim,
    workspace: Workspace | null,
    client: IntercomClient | null,
  ): Promise<void> {
    try {
      if (!workspace || !client) await releaseClaim(database, claim, owner);
      else
        await finishClaim(database, claim, owner, await deliverSubscriber(context, workspace, client, claim));
    } catch (error) {
      // Nothing is lost: the lease runs out and the subscriber is claimed again.
      logger.error(
        { err: error, workspaceId: claim.workspaceId, subscriberId: claim.subscriberId },
        'delivery broke off',
      );
    }
  }

  function clientFor(workspace: Workspace): IntercomClient | null {
    if (workspace.accessToken === null) return null;
    const gate = gateOf(workspace.workspaceId);
    return createIntercomClient({
      apiUrl: intercomApiUrl(options.intercomApiUrl, workspace.region),
      accessToken: options.secrets.open(workspace.accessToken, sealedAs.accessToken(workspace.workspaceId)),
      now,
      timeoutMs: options.callTimeoutMs ?? 10_000,
      gate,
    });
  }

  async function renew(): Promise<void> {
    const byWorkspace = new Map<string, string[]>();
    for (const claim of held.values()) {
      const ids = byWorkspace.get(claim.workspaceId) ?? [];
      ids.push(claim.subscriberId);
      byWorkspace.set(claim.workspaceId, ids);
    }
    for (const [workspaceId, ids] of byWorkspace) await renewLeases(database, workspaceId, owner, ids);
  }

  async function listen(): Promise<void> {
    if (stopping) return;
    const client = new pg.Client({ connectionString: options.databaseUrl, keepAlive: true });
    const retry = (): void => {
      if (listener !== client && listener !== null) return;
      listener = null;
      client.end().catch(() => {});
      if (!stopping) setTimeout(() => void listen(), AFTER_FAILURE_MS).unref();
    };
    client.on('error', retry);
    client.on('end', retry);
    client.on('notification', wake);
    try {
      listener = client;
      await client.connect();
      await client.query('listen delivery');
      wake();
    } catch {
      retry();
    }
  }

  return {
    start() {
      loop = run();
      void listen();
      renewal = setInterval(() => {
        renew().catch((error) => logger.warn({ err: error }, 'could not renew leases'));
      }, RENEW_MS);
    },
    async stop() {
      stopping = true;
      wake();
      await loop;
      await Promise.allSettled(running);
      if (renewal) clearInterval(renewal);
      const last = listener;
      listener = null;
      await last?.end().catch(() => {});
    },
    wake,
    inHand: () => held.size,
  };
}
