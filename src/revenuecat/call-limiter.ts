import pLimit, { type LimitFunction } from 'p-limit';
import { createKeyedCache } from '../database/batcher.ts';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { pause } from '../time.ts';
import { type Budget, type CallDomain, pauseCalls, type RateUsage, takeFromBudget } from './call-budget.ts';

/**
 * The order when calls are scarce: a card that an agent waits for, then work that follows an event, then imports and
 * reconciling.
 */
export type CallPriority = 'interactive' | 'background' | 'bulk';

/** Paces the calls of one project's key. */
export type RevenueCatGate = ReturnType<ReturnType<typeof createCallLimiter>['gate']>;

const PRIORITIES: Readonly<Record<CallPriority, { keepShare: number; maxWaitMs: number }>> = {
  interactive: { keepShare: 0, maxWaitMs: 2_000 },
  background: { keepShare: 0.25, maxWaitMs: 20_000 },
  // An import holds claimed customers while it waits. After this time it releases them instead.
  bulk: { keepShare: 0.5, maxWaitMs: 30_000 },
};

/** The most calls that one statement takes out of the budget. */
const MAX_AT_ONCE = 64;
/** A longer wait is checked again after this time, because the budget may change before the wait ends. */
const MAX_SLEEP_MS = 1_000;

/** Calls of one priority that wait for the same budget. */
interface Queue {
  /** The first call of the queue takes calls out of the budget for all that wait. */
  readonly oneAtATime: LimitFunction;
  /** Calls that were taken for those waiting behind the first. */
  granted: number;
}

/**
 * Shares each project's rate limit between all processes, through the database. Calls of one process that wait at the
 * same time share a statement, which then costs less than a tenth of a call. rate-limiter-flexible is not used: it has
 * no shares for priorities, and cannot correct a bucket with a response's headers.
 */
export function createCallLimiter({ database, now = Date.now }: { database: Database; now?: () => number }) {
  const queueOf = createKeyedCache((): Queue => ({ oneAtATime: pLimit(1), granted: 0 }));
  /** Usage from the newest responses, until a statement passes it on to the budget. */
  const usages = new Map<string, RateUsage>();

  return {
    /** @param signal ends the waiting, when the process stops */
    gate(project: Omit<Budget, 'domain'>, priority: CallPriority, signal = new AbortController().signal) {
      const { keepShare, maxWaitMs } = PRIORITIES[priority];
      return {
        /** Waits until the call may be made. @throws AppError when that would take longer than this priority waits */
        enter(domain: CallDomain): Promise<void> {
          const budget = { ...project, domain };
          const untilMs = now() + maxWaitMs;
          const queue = queueOf(`${keyOf(budget)}|${priority}`);
          return queue.oneAtATime(() => takeOne(budget, queue, { keepShare, untilMs, signal }));
        },
        observe(domain: CallDomain, usage: RateUsage): void {
          usages.set(keyOf({ ...project, domain }), usage);
        },
        /** After a 429: no calls for this long (ms). */
        pause: (domain: CallDomain, forMs: number) => pauseCalls(database, { ...project, domain }, forMs),
      };
    },
  };

  async function takeOne(
    budget: Budget,
    queue: Queue,
    { keepShare, untilMs, signal }: { keepShare: number; untilMs: number; signal: AbortSignal },
  ): Promise<void> {
    const key = keyOf(budget);
    while (queue.granted === 0) {
      if (signal.aborted) throw rateLimited(now());
      const usage = usages.get(key) ?? null;
      usages.delete(key);
      const calls = Math.min(queue.oneAtATime.pendingCount + 1, MAX_AT_ONCE);
      const { granted, waitMs } = await takeFromBudget(database, budget, { calls, keepShare, usage });
      queue.granted = granted;
      if (granted > 0) break;
      const readyMs = now() + waitMs;
      if (readyMs > untilMs) throw rateLimited(readyMs);
      await pause(Math.min(waitMs, MAX_SLEEP_MS), signal);
    }
    queue.granted -= 1;
  }
}

function keyOf({ workspaceId, projectId, domain }: Budget): string {
  return `${workspaceId}|${projectId}|${domain}`;
}

function rateLimited(readyMs: number): AppError {
  return new AppError(
    'revenuecat_rate_limited',
    'The rate limit of the RevenueCat key is used up. Try again in a minute.',
    { remedy: { kind: 'wait_until', atMs: readyMs } },
  );
}
