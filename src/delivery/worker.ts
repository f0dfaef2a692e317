import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { type ApiUrls, intercomClientFor } from '../workspaces/clients.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { readWorkspace, type Workspace } from '../workspaces/store.ts';
import type { DeliveryContext, DeliveryMetrics } from './attempt.ts';
import { takeCalls } from './call-budget.ts';
import { type Claimed, readClaimed } from './claimed.ts';
import { deliverSubscriber } from './deliver.ts';
import { LEASE_SECONDS, releaseExpiredLeases, renewLeases } from './leases.ts';
import { type Clock, createRateGate, type RateGate } from './rate-gate.ts';
import { createWorkerSession } from './session.ts';
import { allocateSlots } from './slots.ts';
import { type Claim, claimSubscribers, listDueWorkspaces, releaseClaim } from './store.ts';
import { createOutboxWriter } from './writer.ts';

export interface WorkerOptions {
  readonly database: Database;
  /** For the connection that listens; `null`: polling alone. */
  readonly databaseUrl: string | null;
  readonly logger: Logger;
  readonly secrets: SecretBox;
  readonly config: Pick<ApiUrls, 'intercom'>;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Subscribers of one workspace in hand at once. */
  readonly concurrency?: number;
  readonly metrics?: DeliveryMetrics;
  /** Asks for a new snapshot of a subscriber after its events. */
  readonly requestRefresh?: DeliveryContext['requestRefresh'];
  readonly onHealthChanged?: DeliveryContext['onHealthChanged'];
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
  /** Share of the running window used, 0 to 1, of the workspace that is nearest to its limit. */
  rateUsed(): number;
}

/** The safety net behind NOTIFY, and how soon the leases of a dead worker end. */
const POLL_MS = 1_000;
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3;
const AFTER_FAILURE_MS = 500;
/**
 * Subscribers of one workspace in hand at once. Each is served call by call, so that they, not the machine, bound how
 * much is on its way: Intercom's quota of 167 calls a second is used up while a call takes less than 700 ms.
 */
const CONCURRENCY = 128;
/** All workspaces together may have this many times the hands of one. */
const WORKSPACES_AT_ONCE = 8;
/** What an attribute's type was found to be is believed for this long. */
const TYPES_FOR_MS = 600_000;

const SYSTEM_CLOCK: Clock = {
  now: Date.now,
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

interface Held {
  readonly claim: Claim;
  /** Until when the lease is surely ours, by this process's monotonic clock (ms). */
  untilMs: number;
}

/**
 * Claims due subscribers, workspace by workspace so that each gets its share, and delivers them in parallel.
 * A lost database ends nothing: the loop goes on when it is back, and what was in hand is claimed again.
 */
export function createDeliveryWorker(options: WorkerOptions): DeliveryWorker {
  const { database, logger } = options;
  const clock = options.clock ?? SYSTEM_CLOCK;
  const perWorkspace = options.concurrency ?? CONCURRENCY;
  const held = new Map<string, Map<string, Held>>();
  const running = new Set<Promise<void>>();
  const gates = new Map<string, RateGate>();
  const types = new Map<string, { types: ReadonlyMap<string, string>; untilMs: number }>();
  const session = createWorkerSession({ databaseUrl: options.databaseUrl, logger, onWake: wake });
  let stopping = false;
  let loop: Promise<void> | null = null;
  let renewal: NodeJS.Timeout | null = null;
  let nudge: () => void = () => {};
  let nudged = false;
  let checkedForDeadAtMs = 0;

  const clients = { config: options.config, secrets: options.secrets, now: clock.now };
  const writer = createOutboxWriter(database);
  const context: DeliveryContext = {
    database,
    writer,
    logger,
    now: clock.now,
    random: options.random ?? Math.random,
    metrics: options.metrics ?? { attempt: () => {}, delivered: () => {} },
    requestRefresh: options.requestRefresh ?? (() => Promise.resolve()),
    onHealthChanged: options.onHealthChanged ?? (() => Promise.resolve()),
    hold: (workspaceId, untilMs) => gateOf(workspaceId).hold(untilMs),
    attributeTypes: {
      get(workspaceId) {
        const known = types.get(workspaceId);
        return known && known.untilMs > clock.now() ? known.types : undefined;
      },
      set: (workspaceId, found) =>
        void types.set(workspaceId, { types: found, untilMs: clock.now() + TYPES_FOR_MS }),
    },
  };

  function gateOf(workspaceId: string): RateGate {
    let gate = gates.get(workspaceId);
    if (!gate) {
      gate = createRateGate({
        clock,
        take: (ask, reading, nowMs) => takeCalls(database, workspaceId, ask, reading, nowMs),
      });
      gates.set(workspaceId, gate);
    }
    return gate;
  }

  function inHand(): number {
    let count = 0;
    for (const claims of held.values()) count += claims.size;
    return count;
  }

  function wake(): void {
    nudged = true;
    nudge();
  }

  /** Polling finds what is due within a second; this is for what is due sooner. */
  function wakeAt(dueAtMs: number): void {
    const delayMs = dueAtMs - clock.now();
    if (delayMs < POLL_MS && !stopping) setTimeout(wake, Math.max(delayMs, 0) + 1).unref();
  }

  async function run(): Promise<void> {
    while (!stopping) {
      nudged = false;
      let found = 0;
      let pauseMs = POLL_MS;
      try {
        await releaseLeasesOfEndedWorkers();
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

  async function releaseLeasesOfEndedWorkers(): Promise<void> {
    if (performance.now() - checkedForDeadAtMs < POLL_MS) return;
    const freed = await releaseExpiredLeases(database);
    checkedForDeadAtMs = performance.now();
    if (freed > 0) logger.warn({ subscribers: freed }, 'took over what a worker that ended had in hand');
  }

  /** @returns number of subscribers claimed */
  async function claimRound(): Promise<number> {
    const due = await listDueWorkspaces(database);
    const shares = allocateSlots(
      due.map((workspaceId) => ({
        workspaceId,
        held: held.get(workspaceId)?.size ?? 0,
        room: gates.get(workspaceId)?.room() ?? Number.POSITIVE_INFINITY,
      })),
      { perWorkspace, total: perWorkspace * WORKSPACES_AT_ONCE, held: inHand() },
    );
    let claimed = 0;
    for (const [workspaceId, share] of shares) {
      if (stopping) break;
      claimed += await claimFor(workspaceId, share);
    }
    return claimed;
  }

  async function claimFor(workspaceId: string, limit: number): Promise<number> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    const claims = await claimSubscribers(database, workspaceId, session.owner(), limit);
    if (claims.length === 0) return 0;
    const ours = held.get(workspaceId) ?? new Map<string, Held>();
    held.set(workspaceId, ours);
    const entries = claims.map((claim) => ({ claim, untilMs }));
    for (const entry of entries) ours.set(entry.claim.subscriberId, entry);
    const workspace = await readWorkspace(database, workspaceId);
    const client =
      workspace &&
      intercomClientFor(clients, workspace, { gate: gateOf(workspaceId), timeoutMs: options.callTimeoutMs });
    const reading = readClaimed(
      database,
      workspaceId,
      claims.map((claim) => claim.subscriberId),
    );
    // Each delivery looks at its rejection; there may be none left that does.
    reading.catch(() => {});
    for (const entry of entries) {
      const work = deliverClaim(entry, workspace, client, reading).finally(() => {
        if (ours.get(entry.claim.subscriberId) === entry) ours.delete(entry.claim.subscriberId);
        if (ours.size === 0 && held.get(workspaceId) === ours) held.delete(workspaceId);
        running.delete(work);
        // Enough hands are free for the next claim to carry many.
        if (ours.size === 0 || ours.size === Math.floor(perWorkspace * 0.75)) wake();
      });
      running.add(work);
    }
    return claims.length;
  }

  async function deliverClaim(
    entry: Held,
    workspace: Workspace | null,
    client: IntercomClient | null,
    reading: Promise<ReadonlyMap<string, Claimed>>,
  ): Promise<void> {
    const { claim } = entry;
    const isHeld = (): boolean =>
      claim.owner === session.owner() && performance.now() < entry.untilMs && !stopping;
    try {
      if (!workspace || !client) return await releaseClaim(database, claim);
      const claimed = (await reading).get(claim.subscriberId) ?? null;
      const ending = await deliverSubscriber({ context, workspace, client, claim, isHeld }, claimed);
      if (ending === null) await releaseClaim(database, claim);
      else if (await writer.finish(claim, ending)) wake();
      else if (ending.dueAtMs !== null) wakeAt(ending.dueAtMs);
    } catch (error) {
      if (stopping) return await releaseClaim(database, claim).catch(() => {});
      // Nothing is lost: the lease runs out and the subscriber is claimed again.
      logger.error(
        { err: error, workspaceId: claim.workspaceId, subscriberId: claim.subscriberId },
        'delivery broke off',
      );
    }
  }

  async function renew(): Promise<void> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    for (const [workspaceId, claims] of held) {
      const entries = [...claims.values()];
      const ids = entries.map((entry) => entry.claim.subscriberId);
      await renewLeases(database, workspaceId, session.owner(), ids);
      for (const entry of entries) entry.untilMs = untilMs;
    }
  }

  return {
    start() {
      session.start();
      loop = run();
      renewal = setInterval(() => {
        renew().catch((error) => logger.warn({ err: error }, 'could not renew leases'));
      }, RENEW_MS);
    },
    async stop() {
      stopping = true;
      wake();
      await loop;
      for (const gate of gates.values()) gate.close();
      await Promise.allSettled(running);
      if (renewal) clearInterval(renewal);
      await session.stop();
    },
    wake,
    inHand,
    rateUsed: () => Math.max(0, ...[...gates.values()].map((gate) => gate.used())),
  };
}
