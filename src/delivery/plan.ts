import { eventMetadata } from '../subscribers/delivery-metadata.ts';
import { defaultEventName } from '../subscribers/kinds.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { type DeliverableKind, EVENT_KINDS, type SubscriberState } from '../subscribers/types.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';

/** What to do with one pending event. */
export type PlannedEvent =
  | {
      readonly action: 'send';
      readonly eventId: string;
      readonly projectId: string;
      readonly eventName: string;
      readonly createdAtS: number;
      readonly metadata: Readonly<Record<string, unknown>>;
    }
  | {
      readonly action: 'skip';
      readonly eventId: string;
      readonly projectId: string;
      readonly reason: 'switched_off' | 'sandbox' | 'timeline_only';
    };

/** What was sent under which name and second: a retry must repeat both. */
export interface SentMark {
  readonly name: string;
  readonly atS: number;
}

const DELIVERABLE: ReadonlySet<string> = new Set(EVENT_KINDS);

function isDeliverable(kind: string): kind is DeliverableKind {
  return DELIVERABLE.has(kind);
}

/** The name of a kind's data event in a workspace; a blank one means the default. */
export function eventNameFor(kind: DeliverableKind, settings: WorkspaceSettings): string {
  return settings.events[kind]?.name.trim() || defaultEventName(kind);
}

/**
 * Plans the data events of one subscriber, oldest first.
 *
 * Intercom removes duplicates by contact, name (case-insensitive) and second, so two different events that
 * would share all three are moved one second apart; where an event was planned before, its second stays.
 *
 * @param history everything of the subscriber, oldest first
 * @param marks by event id: what was planned for it before
 */
export function planEvents(
  history: readonly TimelineEntry[],
  marks: ReadonlyMap<string, SentMark>,
  settings: WorkspaceSettings,
): PlannedEvent[] {
  const taken = new Set<string>();
  for (const mark of marks.values()) taken.add(`${mark.name.toLowerCase()}@${mark.atS}`);

  const planned: PlannedEvent[] = [];
  for (const event of history) {
    if (event.delivery.state !== 'pending' || event.side !== 'subject') continue;
    const base = { eventId: event.id, projectId: event.projectId };
    if (!isDeliverable(event.kind)) {
      planned.push({ ...base, action: 'skip', reason: 'timeline_only' });
    } else if (event.environment === 'sandbox' && !settings.sandbox.deliver) {
      planned.push({ ...base, action: 'skip', reason: 'sandbox' });
    } else if (settings.events[event.kind]?.enabled === false) {
      planned.push({ ...base, action: 'skip', reason: 'switched_off' });
    } else {
      const mark = marks.get(event.id) ?? reserve(taken, eventNameFor(event.kind, settings), event.atMs);
      planned.push({
        ...base,
        action: 'send',
        eventName: mark.name,
        createdAtS: mark.atS,
        metadata: eventMetadata(event),
      });
    }
  }
  return planned;
}

function reserve(taken: Set<string>, name: string, atMs: number): SentMark {
  let atS = Math.floor(atMs / 1_000);
  while (taken.has(`${name.toLowerCase()}@${atS}`)) atS += 1;
  taken.add(`${name.toLowerCase()}@${atS}`);
  return { name, atS };
}

/** The attributes that differ from what was last written to the same contact. */
export function changedAttributes(
  wanted: Readonly<Record<string, unknown>>,
  written: Readonly<Record<string, unknown>> | null,
): Record<string, unknown> {
  const changed: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(wanted)) {
    const before = written?.[name] ?? null;
    if (value !== before) changed[name] = value;
  }
  return changed;
}

const MINUTE_MS = 60_000;

/**
 * Renewals are announced some time after the period's end, an hour later by some stores: the end of a
 * subscription that should renew is believed only after this time.
 */
const RENEWAL_PATIENCE_MS = 2 * 60 * MINUTE_MS;

/** When time alone will next change the state; `null`: never. */
export function nextChangeAt(state: SubscriberState, nowMs: number): number | null {
  let next: number | null = null;
  for (const subscription of [...state.subscriptions, ...state.grants]) {
    if (!subscription.givesAccess) continue;
    const endsAtMs = Math.max(subscription.endsAtMs ?? 0, subscription.gracePeriodEndsAtMs ?? 0);
    if (endsAtMs <= 0) continue;
    const atMs = endsAtMs + (subscription.willRenew ? RENEWAL_PATIENCE_MS : MINUTE_MS);
    if (atMs > nowMs && (next === null || atMs < next)) next = atMs;
  }
  return next;
}
