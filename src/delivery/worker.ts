import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { withSpan } from '../tracing.ts';
import { type ApiUrls, intercomClientFor } from '../workspaces/clients.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { readWorkspace, type Workspace } from '../workspaces/store.ts';
import type { DeliveryContext, DeliveryMetrics } from './back-off.ts';
import {
  type Claim,
  type ClaimedSubscriber,
  claimNext,
  LEASE_SECONDS,
  listDueWorkspaces,
  readClaimed,
  releaseClaim,
  renewLeases,
} from './claims.ts';
import { deliverSubscriber } from './deliver-subscriber.ts';
import { createOutboxWriter } from './outbox.ts';
import { type Clock, RateGate, takeCalls } from './rate-gate.ts';
import { createWorkerSession, releaseExpiredLeases } from './worker-session.ts';

export interface WorkerOptions {
  readonly database: Database;
  /** For the connection that listens; `null`: only polling. */
  readonly databaseUrl: string | null;
  readonly logger: Logger;
  readonly secrets: SecretBox;
  readonly config: Pick<ApiUrls, 'intercom'>;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Subscribers of one workspace that are delivered in parallel. */
  readonly concurrency?: number;
  readonly metrics?: DeliveryMetrics;
  /** Reads a new snapshot of a subscriber after its events. */
  readonly requestRefresh?: DeliveryContext['requestRefresh'];
  readonly onHealthChanged?: DeliveryContext['onHealthChanged'];
  /** How long a call to Intercom may take, ms. */
  readonly callTimeoutMs?: number;
}

export interface DeliveryWorker {
  start(): void;
  /** Finishes what is claimed; claims nothing new. */
  stop(): Promise<void>;
  /** Looks for work immediately. */
  wake(): void;
  /** Subscribers that are being delivered. */
  activeCount(): number;
  /** Share of the current rate-limit window used, 0 to 1, of the workspace nearest to its limit. */
  rateUsed(): number;
}

/** The safety net behind NOTIFY, and how soon the leases of an ended worker are released. */
const POLL_MS = 1_000;
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3;
const RETRY_DELAY_MS = 500;
/**
 * Subscribers of one workspace that are delivered in parallel. Each makes one call at a time, so Intercom's quota of
 * 167 calls a second is used up while a call takes less than 700 ms.
 */
const CONCURRENCY = 128;
/** All workspaces together get this many times the slots of one. */
const MAX_BUSY_WORKSPACES = 8;
/** How long the types of a workspace's attributes are cached. */
const ATTRIBUTE_TYPES_TTL_MS = 600_000;

const SYSTEM_CLOCK: Clock = {
  now: Date.now,
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

interface ActiveClaim {
  readonly claim: Claim;
  /** Until when the lease is ours, by this process's monotonic clock (ms). */
  untilMs: number;
}

/** A workspace with something due. */
export interface DueWorkspace {
  readonly workspaceId: string;
  /** Its subscribers that this worker is delivering. */
  readonly active: number;
  /** Calls that its rate-limit window allows now. */
  readonly room: number;
}

/** A workspace without active deliveries gets this many slots, however busy the worker is with others. */
const MIN_SLOTS = 2;

/**
 * How many subscribers to claim of each workspace, in the order given.
 *
 * No workspace gets more than `perWorkspace`: deliveries that wait for its rate limit, or for a slow Intercom, must
 * leave slots for the others. A workspace with active deliveries claims more only when a quarter of its slots is
 * free, so that claims are large.
 */
export function allocateSlots(
  due: readonly DueWorkspace[],
  limits: { perWorkspace: number; total: number; active: number },
): Map<string, number> {
  const slots = new Map<string, number>();
  let free = limits.total - limits.active;
  for (const [index, { workspaceId, active, room }] of due.entries()) {
    const open = limits.perWorkspace - active;
    if (active > 0 && open < limits.perWorkspace / 4) continue;
    const part = Math.ceil(Math.max(free, 0) / (due.length - index));
    const share = Math.min(open, room, Math.max(part, active === 0 ? MIN_SLOTS : 0));
    if (share < 1) continue;
    slots.set(workspaceId, share);
    free -= share;
  }
  return slots;
}

/**
 * Claims due subscribers, workspace by workspace so that each gets its share, and delivers them in parallel.
 * The loop survives an unavailable database; what was claimed is then claimed again.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: short functions over the state that they share
export function createDeliveryWorker(options: WorkerOptions): DeliveryWorker {
  const { database, logger } = options;
  const clock = options.clock ?? SYSTEM_CLOCK;
  const perWorkspace = options.concurrency ?? CONCURRENCY;
  const active = new Map<string, Map<string, ActiveClaim>>();
  const running = new Set<Promise<void>>();
  const gates = new Map<string, RateGate>();
  const types = new Map<string, { types: ReadonlyMap<string, string>; untilMs: number }>();
  const session = createWorkerSession({ databaseUrl: options.databaseUrl, logger, onWake: wake });
  let stopping = false;
  let loop: Promise<void> | null = null;
  let renewal: NodeJS.Timeout | null = null;
  let endPause: () => void = () => {};
  let isWoken = false;
  let leasesCheckedAtMs = 0;

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
    pause: (workspaceId, untilMs) => gateOf(workspaceId).pause(untilMs),
    attributeTypes: {
      get(workspaceId) {
        const known = types.get(workspaceId);
        return known && known.untilMs > clock.now() ? known.types : undefined;
      },
      set: (workspaceId, found) =>
        void types.set(workspaceId, { types: found, untilMs: clock.now() + ATTRIBUTE_TYPES_TTL_MS }),
    },
  };

  function gateOf(workspaceId: string): RateGate {
    let gate = gates.get(workspaceId);
    if (!gate) {
      gate = new RateGate({
        clock,
        take: (ask) => takeCalls(database, workspaceId, ask),
      });
      gates.set(workspaceId, gate);
    }
    return gate;
  }

  function activeCount(): number {
    let count = 0;
    for (const claims of active.values()) count += claims.size;
    return count;
  }

  function wake(): void {
    isWoken = true;
    endPause();
  }

  /** For what is due before the next poll. */
  function wakeAt(dueAtMs: number): void {
    const delayMs = dueAtMs - clock.now();
    if (delayMs < POLL_MS && !stopping) setTimeout(wake, Math.max(delayMs, 0) + 1).unref();
  }

  async function run(): Promise<void> {
    while (!stopping) {
      isWoken = false;
      let found = 0;
      let pauseMs = POLL_MS;
      try {
        await releaseLeasesOfEndedWorkers();
        found = await claimRound();
      } catch (error) {
        pauseMs = RETRY_DELAY_MS;
        logger.warn({ err: error, unavailable: isDatabaseUnavailable(error) }, 'could not claim deliveries');
      }
      if (found === 0 && !isWoken && !stopping) await pause(pauseMs);
    }
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, delayMs);
      function done(): void {
        clearTimeout(timer);
        endPause = () => {};
        resolve();
      }
      endPause = done;
    });
  }

  async function releaseLeasesOfEndedWorkers(): Promise<void> {
    if (performance.now() - leasesCheckedAtMs < POLL_MS) return;
    const released = await releaseExpiredLeases(database);
    leasesCheckedAtMs = performance.now();
    if (released > 0) logger.warn({ subscribers: released }, 'released the leases of a worker that ended');
  }

  /** @returns number of subscribers claimed */
  async function claimRound(): Promise<number> {
    const due = await listDueWorkspaces(database);
    const slots = allocateSlots(
      due.map((workspaceId) => ({
        workspaceId,
        active: active.get(workspaceId)?.size ?? 0,
        room: gates.get(workspaceId)?.room() ?? Number.POSITIVE_INFINITY,
      })),
      { perWorkspace, total: perWorkspace * MAX_BUSY_WORKSPACES, active: activeCount() },
    );
    let claimed = 0;
    for (const [workspaceId, limit] of slots) {
      if (stopping) break;
      claimed += await claimFor(workspaceId, limit);
    }
    return claimed;
  }

  async function claimFor(workspaceId: string, limit: number): Promise<number> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    const claims = await claimNext(database, workspaceId, { owner: session.owner(), limit });
    if (claims.length === 0) return 0;
    const ours = active.get(workspaceId) ?? new Map<string, ActiveClaim>();
    active.set(workspaceId, ours);
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
    // Each delivery handles its rejection; there may be no delivery left.
    reading.catch(() => {});
    for (const entry of entries) {
      const work = deliverClaim(entry, workspace, client, reading).finally(() => {
        if (ours.get(entry.claim.subscriberId) === entry) ours.delete(entry.claim.subscriberId);
        if (ours.size === 0 && active.get(workspaceId) === ours) active.delete(workspaceId);
        running.delete(work);
        // Enough slots are free for the next claim to be large.
        if (ours.size === 0 || ours.size === Math.floor(perWorkspace * 0.75)) wake();
      });
      running.add(work);
    }
    return claims.length;
  }

  async function deliverClaim(
    entry: ActiveClaim,
    workspace: Workspace | null,
    client: IntercomClient | null,
    reading: Promise<ReadonlyMap<string, ClaimedSubscriber>>,
  ): Promise<void> {
    const { claim } = entry;
    const isLeased = (): boolean =>
      claim.owner === session.owner() && performance.now() < entry.untilMs && !stopping;
    try {
      if (!workspace || !client) return await releaseClaim(database, claim);
      const claimed = (await reading).get(claim.subscriberId) ?? null;
      const ids = { workspaceId: claim.workspaceId, subscriberId: claim.subscriberId };
      const result = await withSpan('deliver subscriber', ids, () =>
        deliverSubscriber({ context, workspace, client, claim, isLeased }, claimed),
      );
      if (result === null) await releaseClaim(database, claim);
      else if (await writer.finish(claim, result)) wake();
      else if (result.dueAtMs !== null) wakeAt(result.dueAtMs);
    } catch (error) {
      if (stopping) return await releaseClaim(database, claim).catch(() => {});
      // Nothing is lost: the lease expires and the subscriber is claimed again.
      logger.error(
        { err: error, workspaceId: claim.workspaceId, subscriberId: claim.subscriberId },
        'delivery stopped by an unexpected error',
      );
    }
  }

  async function renew(): Promise<void> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    for (const [workspaceId, claims] of active) {
      const entries = [...claims.values()];
      const ids = entries.map((entry) => entry.claim.subscriberId);
      await renewLeases(database, workspaceId, { owner: session.owner(), subscriberIds: ids });
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
    activeCount,
    rateUsed: () => Math.max(0, ...[...gates.values()].map((gate) => gate.used())),
  };
}
