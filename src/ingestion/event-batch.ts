import { type IdentityGroup, newIdentityGroup } from '../subscribers/identity-groups.ts';
import { EVENT_KINDS } from '../subscription/types.ts';
import type { ReceivedEvent } from './webhook.ts';

export type ReceiptStatus = 'accepted' | 'duplicate';

const DELIVERABLE: ReadonlySet<string> = new Set(EVENT_KINDS);

/** Which events that were read from the API go to the contact; the others stand on the timeline only. */
export interface HistoryRule {
  isDelivered(event: ReceivedEvent): boolean;
}

/** One row to be stored: an event as it concerns one customer. */
export interface EventRecord {
  readonly id: string;
  readonly side: 'customer' | 'source';
  readonly appUserId: string | null;
  readonly subscriberId: string;
  readonly isNew: boolean;
  /** Rows of the same event; all are stored or none. */
  readonly sides: number;
  /** Why it is never sent to Intercom; `null`: it is delivered. */
  readonly skipReason: 'timeline_only' | 'imported' | null;
  readonly received: ReceivedEvent;
}

/** What is to be written for events of one project. */
export interface EventBatch {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly records: readonly EventRecord[];
  /** App user ids that were not stored when they were looked for, each with its customer. */
  readonly ids: readonly { readonly id: string; readonly subscriberId: string; readonly isNew: boolean }[];
  /** Subscribers that were stored when they were looked for. */
  readonly known: readonly string[];
  readonly isHistory: boolean;
}

export interface Written {
  /** By event id; missing: its subscriber has changed, and it was not written. */
  readonly stored: ReadonlyMap<string, ReceiptStatus>;
  /** Whether another process gave one of the ids to another subscriber meanwhile. */
  readonly contested: boolean;
}

/** @param events each once */
export function makeBatch(
  workspaceId: string,
  projectId: string,
  events: readonly ReceivedEvent[],
  parties: ReadonlyMap<string, IdentityGroup>,
  history: HistoryRule | null,
): EventBatch {
  const records: EventRecord[] = [];
  const nobody: IdentityGroup[] = [];
  for (const received of events) {
    const { id } = received.event;
    const placed: Omit<EventRecord, 'sides'>[] = [];
    for (const side of ['customer', 'source'] as const) {
      const [appUserId] = received[side];
      let party = appUserId === undefined ? undefined : parties.get(appUserId);
      if (!party) {
        if (side === 'source') continue;
        // An event that names nobody stands alone: it is kept, and found by its id.
        party = newIdentityGroup();
        nobody.push(party);
      }
      const { subscriberId, isNew } = party;
      const skipReason = skipReasonOf(received, side, history);
      placed.push({ id, side, appUserId: appUserId ?? null, subscriberId, isNew, skipReason, received });
    }
    for (const record of placed) records.push({ ...record, sides: placed.length });
  }
  const all = [...new Set([...parties.values(), ...nobody])];
  return {
    workspaceId,
    projectId,
    records,
    ids: all.flatMap(({ ids, knownIds, subscriberId, isNew }) =>
      [...ids.difference(knownIds)].map((id) => ({ id, subscriberId, isNew })),
    ),
    known: all.filter((party) => !party.isNew).map((party) => party.subscriberId),
    isHistory: history !== null,
  };
}

function skipReasonOf(
  received: ReceivedEvent,
  side: EventRecord['side'],
  history: HistoryRule | null,
): EventRecord['skipReason'] {
  // The transfer itself is recorded on the contact that received the purchases; the source's attributes follow.
  if (side === 'source' || !DELIVERABLE.has(received.event.kind)) return 'timeline_only';
  return history === null || history.isDelivered(received) ? null : 'imported';
}

/** A control character, which JSON allows nowhere: an array would have every quote of every payload escaped. */
const SEPARATOR = '\x1e';

/**
 * Parameters for the columns subscriber_id, type, kind, environment, event_at_ms, transaction_id, payload and skip_reason:
 * lists, but the payloads are one text, which PostgreSQL takes apart again with string_to_array.
 */
export function columnsOf(records: readonly EventRecord[]): unknown[] {
  return [
    records.map((record) => record.subscriberId),
    records.map((record) => record.received.event.type),
    records.map((record) => record.received.event.kind),
    records.map((record) => record.received.event.environment),
    records.map((record) => record.received.event.atMs),
    records.map((record) => record.received.event.transactionId),
    records.map((record) => record.received.payload).join(SEPARATOR),
    records.map((record) => record.skipReason),
  ];
}
