import { createBatcher, keyed } from '../database/batcher.ts';
import type { ReceiptStatus } from './event-batch.ts';
import type { ReceivedEvent } from './webhook.ts';

/**
 * Rows of one statement: beyond 250 a batch takes longer without carrying more events a second. A second statement
 * is begun only for 24: what a statement costs by itself, it costs for each. With 64 callers, two statements at any
 * size formState 14 events each and took 95 µs of the database for an event, one at a time 17 and 67 µs.
 */
const BATCHES = { most: 250, parallel: 2, worthAnother: 24 };

/** Group commit of webhooks, project by project. A lone one is written at once. */
export interface Receiver {
  /** Resolves after the commit. Rejects when the event could not be stored; nothing of it then is. */
  receive(workspaceId: string, projectId: string, event: ReceivedEvent): Promise<ReceiptStatus>;
  /** Webhooks taken and not yet committed. */
  pending(): number;
}

/** @param store gives a status for each event, in their order */
export function createReceiver(
  store: (
    workspaceId: string,
    projectId: string,
    events: readonly ReceivedEvent[],
  ) => Promise<ReceiptStatus[]>,
): Receiver {
  const laneOf = keyed((workspaceId: string, projectId: string) =>
    createBatcher((events: readonly ReceivedEvent[]) => store(workspaceId, projectId, events), BATCHES),
  );
  let pending = 0;

  return {
    async receive(workspaceId, projectId, event) {
      pending += 1;
      try {
        return await laneOf(workspaceId, projectId)(event);
      } finally {
        pending -= 1;
      }
    },
    pending: () => pending,
  };
}
