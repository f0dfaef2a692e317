import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { type CallDomain, holdCalls, type RateReading, takeCalls } from './call-budget.ts';

/**
 * Who goes first when calls are scarce: somebody who waits at a card, then work that follows an event, then
 * what has time (an import, reconciling).
 */
export type CallPriority = 'interactive' | 'background' | 'bulk';

/** Paces the calls of one project's key. */
export interface CallGate {
  /**
   * Resolves when the call may be made.
   *
   * @throws AppError `revenuecat_rate_limited` when that would take longer than this priority waits
   */
  enter(domain: CallDomain): Promise<void>;
  observe(domain: CallDomain, reading: RateReading): void;
  /** RevenueCat has answered 429: nobody calls for this long (ms). */
  hold(domain: CallDomain, forMs: number): Promise<void>;
}

export interface CallLimiter {
  /** @param signal ends the waiting: a process that stops does not wait for its turn */
  gate(
    project: { workspaceId: string; projectId: string },
    priority: CallPriority,
    signal?: AbortSignal,
  ): CallGate;
}

const PRIORITIES: Readonly<Record<CallPriority, { keepShare: number; patienceMs: number }>> = {
  interactive: { keepShare: 0, patienceMs: 2_000 },
  background: { keepShare: 0.25, patienceMs: 20_000 },
  // An import holds its customers while it waits: told to wait long, it lets go of them.
  bulk: { keepShare: 0.5, patienceMs: 30_000 },
};

/** Calls that one statement takes at most: what waits in one process at the same moment. */
const MAX_AT_ONCE = 64;
/** Others may give back or lose what was announced: nobody sleeps longer without looking again. */
const MAX_SLEEP_MS = 1_000;

interface Waiting {
  readonly untilMs: number;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Shares each project's rate limit between all processes, through the database. Calls that wait in one process
 * at the same time take their share in one statement, so that it costs less than a tenth of a call.
 */
export function createCallLimiter(options: { database: Database; now?: () => number }): CallLimiter {
  const { database } = options;
  const now = options.now ?? Date.now;
  const lanes = new Map<string, { waiting: Waiting[] }>();
  const readings = new Map<string, RateReading>();

  async function drain(
    project: { workspaceId: string; projectId: string },
    domain: CallDomain,
    priority: CallPriority,
    key: string,
  ): Promise<void> {
    const lane = lanes.get(key);
    const budget = `${project.workspaceId}|${project.projectId}|${domain}`;
    while (lane && lane.waiting.length > 0) {
      const reading = readings.get(budget) ?? null;
      readings.delete(budget);
      try {
        const calls = Math.min(lane.waiting.length, MAX_AT_ONCE);
        const { keepShare } = PRIORITIES[priority];
        const { granted, waitMs } = await takeCalls(database, project, domain, { calls, keepShare, reading });
        for (const call of lane.waiting.splice(0, granted)) call.resolve();
        if (granted < calls) {
          refuseImpatient(lane, waitMs);
          if (lane.waiting.length > 0) await sleep(Math.min(waitMs, MAX_SLEEP_MS));
        }
      } catch (error) {
        for (const call of lane.waiting.splice(0)) call.reject(error);
      }
    }
    lanes.delete(key);
  }

  function begin(key: string, call: Waiting, startDraining: () => void): void {
    const lane = lanes.get(key);
    if (lane) {
      lane.waiting.push(call);
      return;
    }
    lanes.set(key, { waiting: [call] });
    // Calls that begin in this turn of the loop share the first statement.
    setImmediate(startDraining);
  }

  async function unlessStopped(
    turn: Promise<void>,
    call: Waiting,
    key: string,
    signal: AbortSignal,
  ): Promise<void> {
    const stop = (): void => {
      const waiting = lanes.get(key)?.waiting ?? [];
      const at = waiting.indexOf(call);
      if (at >= 0) waiting.splice(at, 1);
      call.reject(usedUp(now()));
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    try {
      await turn;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  function refuseImpatient(lane: { waiting: Waiting[] }, waitMs: number): void {
    const readyMs = now() + waitMs;
    for (const call of lane.waiting.filter(({ untilMs }) => untilMs < readyMs)) {
      lane.waiting.splice(lane.waiting.indexOf(call), 1);
      call.reject(usedUp(readyMs));
    }
  }

  return {
    gate(project, priority, signal) {
      return {
        enter(domain) {
          const key = `${project.workspaceId}|${project.projectId}|${domain}|${priority}`;
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          const call = { untilMs: now() + PRIORITIES[priority].patienceMs, resolve, reject };
          begin(key, call, () => void drain(project, domain, priority, key));
          return signal ? unlessStopped(promise, call, key, signal) : promise;
        },
        observe(domain, reading) {
          if (!(reading.limit > 0) || !Number.isInteger(reading.limit) || !Number.isInteger(reading.usage))
            return;
          readings.set(`${project.workspaceId}|${project.projectId}|${domain}`, reading);
        },
        hold: (domain, forMs) => holdCalls(database, project, domain, forMs),
      };
    },
  };
}

function usedUp(readyMs: number): AppError {
  return new AppError('revenuecat_rate_limited', 'The rate limit of the RevenueCat key is used up for now', {
    status: 503,
    remedy: { kind: 'wait_until', atMs: readyMs },
  });
}
