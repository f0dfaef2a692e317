import { isDatabaseUnavailable } from '../errors.ts';
import type { ReceiptStatus } from './store.ts';
import type { ReceivedEvent } from './webhook.ts';

interface Waiting {
  readonly event: ReceivedEvent;
  resolve(status: ReceiptStatus): void;
  reject(error: unknown): void;
}

/** Rows of one statement: beyond this a batch takes longer without carrying more events a second. */
const LARGEST_BATCH = 250;

/** Statements that one project may have on their way at once: one is written while the next is gathered. */
const PARALLEL_BATCHES = 2;

/**
 * A second statement is begun only for so many: what a statement costs by itself, it costs for each. With 64
 * callers, two statements at any size carried 14 events each and took 95 µs of the database for an event, one at
 * a time 17 and 67 µs.
 */
const WORTH_A_SECOND = 24;

/**
 * Group commit: webhooks that arrive while a batch is being written form the next one, so that many of them
 * share a round trip and a commit. A lone webhook is written at once.
 */
export interface Receiver {
  /** Resolves after the commit. Rejects when the event could not be stored; nothing of it then is. */
  receive(workspaceId: string, projectId: string, event: ReceivedEvent): Promise<ReceiptStatus>;
  /** Webhooks taken and not yet committed. */
  pending(): number;
}

export function createReceiver(
  store: (
    workspaceId: string,
    projectId: string,
    events: readonly ReceivedEvent[],
  ) => Promise<ReceiptStatus[]>,
): Receiver {
  const lanes = new Map<string, { waiting: Waiting[]; running: number }>();
  let pending = 0;

  async function run(workspaceId: string, projectId: string): Promise<void> {
    const lane = lanes.get(projectId);
    if (!lane || lane.waiting.length === 0 || lane.running >= PARALLEL_BATCHES) return;
    if (lane.running > 0 && lane.waiting.length < WORTH_A_SECOND) return;
    lane.running += 1;
    const batch = lane.waiting.splice(0, LARGEST_BATCH);
    try {
      const statuses = await store(
        workspaceId,
        projectId,
        batch.map((entry) => entry.event),
      );
      for (const [index, entry] of batch.entries()) entry.resolve(statuses[index] ?? 'duplicate');
    } catch (error) {
      // One event that PostgreSQL refuses must not take its neighbours with it.
      if (batch.length === 1 || isDatabaseUnavailable(error)) for (const entry of batch) entry.reject(error);
      else await Promise.all(batch.map((entry) => storeAlone(workspaceId, projectId, entry)));
    } finally {
      pending -= batch.length;
      lane.running -= 1;
      if (lane.running === 0 && lane.waiting.length === 0) lanes.delete(projectId);
      void run(workspaceId, projectId);
    }
  }

  async function storeAlone(workspaceId: string, projectId: string, entry: Waiting): Promise<void> {
    try {
      const [status = 'duplicate'] = await store(workspaceId, projectId, [entry.event]);
      entry.resolve(status);
    } catch (error) {
      entry.reject(error);
    }
  }

  return {
    receive(workspaceId, projectId, event) {
      return new Promise((resolve, reject) => {
        const lane = lanes.get(projectId) ?? { waiting: [], running: 0 };
        lanes.set(projectId, lane);
        lane.waiting.push({ event, resolve, reject });
        pending += 1;
        // The requests already read from the sockets join this batch.
        setImmediate(() => void run(workspaceId, projectId));
      });
    },
    pending: () => pending,
  };
}
