import { LRUCache } from 'lru-cache';
import { DELIVERY_CHANNEL } from '../database/sql.ts';
import { createWorkerConnection, type WorkerConnection } from '../database/worker-connection.ts';
import { isDatabaseUnavailable } from '../errors.ts';
import { type History, readHistories } from '../subscribers/history.ts';
import { expiresAfter, withTimeout } from '../time.ts';
import { withSpan } from '../tracing.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readWorkspace } from '../workspaces/repository.ts';
import {
  type Claim,
  claimNext,
  LEASE_SECONDS,
  releaseClaim,
  releaseExpiredLeases,
  renewLeases,
} from './claims.ts';
import { type DeliveryContext, type DeliveryRun, LeaseLostError } from './context.ts';
import { deliverSubscriber, unchanged } from './deliver-subscriber.ts';
import { allocateSlots, endWaitsOfSetBackClock, listDueWorkspaces } from './due-workspaces.ts';
import { takeCalls } from './intercom-budget.ts';
import { type Clock, IntercomRateGate } from './intercom-rate-gate.ts';
import type { DeliveryMetrics } from './metrics.ts';
import { createOutboxWriter } from './outbox.ts';

export interface WorkerOptions extends Pick<AppContext, 'database' | 'logger' | 'jobs' | 'intercom'> {
  /** Database URL for the connection that listens; `null`: only polling. */
  readonly sessionUrl: string | null;
  /** Handlers of further channels on that connection, by channel. */
  readonly channels?: Readonly<Record<string, (payload: string) => void>>;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Subscribers of one workspace that are delivered in parallel. */
  readonly concurrency?: number;
  readonly metrics?: DeliveryMetrics;
  readonly callTimeoutMs?: number;
}

/** Interval of polling, the safety net behind NOTIFY, and of releasing the leases of ended workers. */
const POLL_MS = 1_000;
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3;
const RETRY_DELAY_MS = 500;
/**
 * Subscribers of one workspace that are delivered in parallel. Each makes one call at a time, so Intercom's quota of
 * 167 calls a second is used up while a call takes less than 1.5 s. With 128, claims and stored outcomes were half as
 * large, and an event took a tenth more processor time.
 */
const CONCURRENCY = 256;
/** All workspaces together get this many times the slots of one. */
const MAX_BUSY_WORKSPACES = 8;
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
  /** End of our lease, by this process's monotonic clock (ms). */
  untilMs: number;
}

interface ActiveWorkspace {
  readonly gate: IntercomRateGate;
  /** Subscribers that are being delivered, by id. */
  readonly claims: Map<string, ActiveClaim>;
}

/**
 * Claims due subscribers, workspace by workspace so that each gets its share, and delivers them in parallel.
 * The loop survives an unavailable database; the claimed subscribers are then claimed again.
 */
export class DeliveryWorker {
  readonly #options: WorkerOptions;
  readonly #clock: Clock;
  readonly #perWorkspace: number;
  readonly #context: DeliveryContext;
  readonly #connection: WorkerConnection;
  readonly #workspaces = new Map<string, ActiveWorkspace>();
  readonly #running = new Set<Promise<void>>();
  #isStopping = false;
  #loop: Promise<void> | null = null;
  #renewal: NodeJS.Timeout | null = null;
  #endPause: () => void = () => {};
  /** Workspaces that `wake` was called for: they have something due. */
  readonly #woken = new Set<string>();
  /** When to search all workspaces again, by the monotonic clock (ms). */
  #listAtMs = 0;
  #checkAtMs = 0;

  constructor(options: WorkerOptions) {
    const { database, logger, clock = SYSTEM_CLOCK } = options;
    this.#options = options;
    this.#clock = clock;
    this.#perWorkspace = options.concurrency ?? CONCURRENCY;
    this.#connection = createWorkerConnection({
      sessionUrl: options.sessionUrl,
      channels: { ...options.channels, [DELIVERY_CHANNEL]: (workspaceId) => this.wake(workspaceId) },
      logger,
      onReady: () => this.wake(),
    });
    this.#context = {
      database,
      writer: createOutboxWriter(database, clock.now),
      logger,
      now: clock.now,
      random: options.random ?? Math.random,
      metrics: options.metrics ?? { attempt: () => {}, delivered: () => {} },
      jobs: options.jobs,
      pause: (workspaceId, untilMs) => this.gateOf(workspaceId).pause(untilMs),
      attributeTypes: new LRUCache({ max: 1_000, ...expiresAfter(ATTRIBUTE_TYPES_TTL_MS, clock.now) }),
    };
  }

  start(): void {
    this.#connection.start();
    this.#loop = this.#run();
    this.#renewal = setInterval(() => {
      this.#renew().catch((error) => this.#context.logger.warn({ err: error }, 'could not renew leases'));
    }, RENEW_MS);
  }

  /** Finishes the claimed deliveries; claims no new ones. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.wake();
    await this.#loop;
    for (const { gate } of this.#workspaces.values()) gate.close();
    await Promise.allSettled(this.#running);
    if (this.#renewal) clearInterval(this.#renewal);
    await this.#connection.stop();
  }

  /** Claims immediately. @param workspaceId a workspace with something due; without it, all workspaces are searched */
  wake(workspaceId?: string): void {
    if (workspaceId === undefined) this.#listAtMs = 0;
    else this.#woken.add(workspaceId);
    this.#endPause();
  }

  /** Share of the current rate-limit window used, 0 to 1, of the workspace nearest to its limit. */
  rateUsed(): number {
    return Math.max(0, ...[...this.#workspaces.values()].map(({ gate }) => gate.used()));
  }

  activeCount(): number {
    let count = 0;
    for (const { claims } of this.#workspaces.values()) count += claims.size;
    return count;
  }

  /** The gate that paces this process's calls to a workspace. */
  gateOf(workspaceId: string): IntercomRateGate {
    return this.#activeIn(workspaceId).gate;
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      try {
        await this.#claim(await this.#findDueWorkspaces());
      } catch (error) {
        this.#listAtMs = performance.now() + RETRY_DELAY_MS;
        const about = { err: error, unavailable: isDatabaseUnavailable(error) };
        this.#context.logger.warn(about, 'could not claim deliveries');
      }
      const delayMs = this.#listAtMs - performance.now();
      if (delayMs > 0 && this.#woken.size === 0 && !this.#isStopping) await this.#pause(delayMs);
    }
  }

  /** Workspaces that `wake` was called for; once a second, all that have something due. */
  async #findDueWorkspaces(): Promise<string[]> {
    const nowMs = performance.now();
    const woken = [...this.#woken];
    this.#woken.clear();
    if (nowMs < this.#listAtMs) return woken;
    this.#listAtMs = nowMs + POLL_MS;
    if (nowMs >= this.#checkAtMs) await this.#endOldWaits();
    return listDueWorkspaces(this.#context.database);
  }

  async #pause(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#endPause = resolve;
    await withTimeout(promise, delayMs, resolve);
  }

  /** Once a second, ends waits that a worker that ended, or a clock that was ahead, has left behind. */
  async #endOldWaits(): Promise<void> {
    await endWaitsOfSetBackClock(this.#context.database);
    const released = await releaseExpiredLeases(this.#context.database);
    this.#checkAtMs = performance.now() + POLL_MS;
    if (released > 0)
      this.#context.logger.warn({ subscribers: released }, 'released the leases of a worker that ended');
  }

  async #claim(due: readonly string[]): Promise<void> {
    const slots = allocateSlots(
      due.map((workspaceId) => ({
        workspaceId,
        active: this.#activeIn(workspaceId).claims.size,
        room: this.#activeIn(workspaceId).gate.room(),
      })),
      {
        perWorkspace: this.#perWorkspace,
        total: this.#perWorkspace * MAX_BUSY_WORKSPACES,
        active: this.activeCount(),
      },
    );
    for (const [workspaceId, limit] of slots) {
      if (this.#isStopping) return;
      try {
        // After a full claim, more may be due.
        if ((await this.#claimFor(workspaceId, limit)) === limit) this.#listAtMs = 0;
      } catch (error) {
        if (isDatabaseUnavailable(error)) throw error;
        // An error of one workspace, such as a token that no key decrypts, must not stop the others. Its leases expire.
        this.#context.logger.error({ err: error, workspaceId }, 'could not claim deliveries');
      }
    }
  }

  /** @returns number of subscribers claimed */
  async #claimFor(workspaceId: string, limit: number): Promise<number> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    const { database } = this.#context;
    const owner = this.#connection.workerId();
    const [claims, workspace] = await Promise.all([
      claimNext(database, workspaceId, { owner, limit }),
      readWorkspace(database, workspaceId),
    ]);
    if (claims.length === 0) return 0;
    const { gate, claims: ours } = this.#activeIn(workspaceId);
    const client =
      workspace && this.#options.intercom(workspace, { gate, timeoutMs: this.#options.callTimeoutMs });
    // The app was uninstalled after the workspace was listed: the leases expire.
    if (!client) return 0;
    const entries = claims.map((claim) => ({ claim, untilMs }));
    for (const entry of entries) ours.set(entry.claim.subscriberId, entry);
    const ids = claims.map((claim) => claim.subscriberId);
    const reading = readHistories(database, workspaceId, ids);
    for (const entry of entries) {
      const work = this.#deliverClaim(entry, { workspace, client }, reading).finally(() => {
        if (ours.get(entry.claim.subscriberId) === entry) ours.delete(entry.claim.subscriberId);
        this.#running.delete(work);
        // More may be due, and enough slots are free for the next claim to be large.
        const isLastOfFull = ours.size === 0 && claims.length === limit;
        if (isLastOfFull || ours.size === Math.floor(this.#perWorkspace * 0.75)) this.wake();
      });
      this.#running.add(work);
    }
    return claims.length;
  }

  async #deliverClaim(
    entry: ActiveClaim,
    { workspace, client }: Pick<DeliveryRun, 'workspace' | 'client'>,
    reading: Promise<ReadonlyMap<string, History>>,
  ): Promise<void> {
    const { claim } = entry;
    const ids = { workspaceId: claim.workspaceId, subscriberId: claim.subscriberId };
    const requireLease = (): void => {
      const isOurs = claim.owner === this.#connection.workerId() && performance.now() < entry.untilMs;
      if (!isOurs) throw new LeaseLostError();
    };
    try {
      const history = (await reading).get(claim.subscriberId);
      const subscriber = history?.subscriber;
      const run = { context: this.#context, workspace, client, claim, requireLease };
      const finished = subscriber
        ? await withSpan('deliver subscriber', ids, () => deliverSubscriber({ ...run, subscriber, history }))
        : unchanged(claim);
      if (await this.#context.writer.finish(claim.workspaceId, finished)) this.wake(claim.workspaceId);
      else if (finished.dueAtMs !== null) this.#wakeAt(claim.workspaceId, finished.dueAtMs);
    } catch (error) {
      if (this.#isStopping || error instanceof LeaseLostError)
        return await releaseClaim(this.#context.database, claim).catch(() => {});
      // Nothing is lost: the lease expires and the subscriber is claimed again.
      const about = { err: error, ...ids };
      const { logger } = this.#context;
      if (isDatabaseUnavailable(error))
        logger.warn(
          about,
          'delivery interrupted: the database is unavailable; claimed again when it is back',
        );
      else logger.error(about, 'delivery stopped by an unexpected error');
    }
  }

  /** Wakes the worker for a subscriber that is due before the next poll. */
  #wakeAt(workspaceId: string, dueAtMs: number): void {
    const delayMs = dueAtMs - this.#clock.now();
    if (delayMs < POLL_MS) setTimeout(() => this.wake(workspaceId), Math.max(delayMs, 0) + 1).unref();
  }

  async #renew(): Promise<void> {
    const untilMs = performance.now() + LEASE_SECONDS * 1_000;
    for (const [workspaceId, { claims }] of this.#workspaces) {
      if (claims.size === 0) continue;
      const entries = [...claims.values()];
      const ids = entries.map((entry) => entry.claim.subscriberId);
      const renewed = await renewLeases(this.#context.database, workspaceId, {
        owner: this.#connection.workerId(),
        subscriberIds: ids,
      });
      for (const entry of entries) if (renewed.has(entry.claim.subscriberId)) entry.untilMs = untilMs;
    }
  }

  #activeIn(workspaceId: string): ActiveWorkspace {
    let active = this.#workspaces.get(workspaceId);
    if (!active) {
      const gate = new IntercomRateGate({
        clock: this.#clock,
        take: (request) => takeCalls(this.#context.database, workspaceId, request),
      });
      active = { gate, claims: new Map() };
      this.#workspaces.set(workspaceId, active);
    }
    return active;
  }
}
