import type { SentMark, TimelineEntry } from '../subscribers/repository.ts';
import { eventMetadata } from '../subscription/delivery-metadata.ts';
import { type DeliverableKind, defaultEventName, isDeliverable } from '../subscription/kinds.ts';
import type { SubscriberState } from '../subscription/types.ts';
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

/** What to do with the pending events of a subscriber, oldest first. */
export interface Plan {
  readonly planned: readonly PlannedEvent[];
  /** Those that are not stored like this yet. */
  readonly changes: readonly PlannedEvent[];
}

/** The outbox state of one of the subscriber's own events. */
export interface OutboxEntry {
  readonly kind: TimelineEntry['kind'];
  readonly isPending: boolean;
  readonly wasAccepted: boolean;
  /** A retry must repeat it. */
  readonly mark: SentMark | null;
  /** Attempts that counted. */
  readonly attempts: number;
  readonly firstTriedAtMs: number | null;
  readonly nextTryAtMs: number | null;
  readonly reason: string | null;
  readonly receivedAtMs: number;
}

/** The outbox of a subscriber, by event id: of its own events those that are pending or were planned. */
export function outboxOf(own: readonly TimelineEntry[]): Map<string, OutboxEntry> {
  const outbox = new Map<string, OutboxEntry>();
  for (const { id, kind, side, receivedAtMs, delivery } of own) {
    const isPending = delivery.state === 'pending';
    if (side !== 'customer' || !(isPending || delivery.mark)) continue;
    const { mark, wasAccepted, attempts, firstTriedAtMs, nextTryAtMs, reason } = delivery;
    outbox.set(id, {
      kind,
      isPending,
      wasAccepted,
      mark,
      attempts,
      firstTriedAtMs,
      nextTryAtMs,
      reason,
      receivedAtMs,
    });
  }
  return outbox;
}

/** The name of a kind's data event in a workspace; a blank one means the default. */
export function eventNameFor(kind: DeliverableKind, { events }: Pick<WorkspaceSettings, 'events'>): string {
  return events[kind]?.name.trim() || defaultEventName(kind);
}

/** The name by which Intercom knows an event: without case, and with `-` for `.` and `$`. Source: API, "Event model". */
export function normalizeEventName(name: string): string {
  return name.trim().toLowerCase().replaceAll(/[.$]/g, '-');
}

/**
 * Plans the data events of one subscriber, oldest first.
 *
 * Intercom removes duplicates by contact, name and second, so two different events that would share all three
 * are moved one second apart; where an event was planned before, its second stays. Only the plans of two subscribers
 * that were merged can clash: then the event that was never tried moves. What was never tried also takes the name
 * that is configured now: it may have waited for its contact for months.
 *
 * @param history what the state rests on, oldest first; purchases that came by a transfer are not in `outbox`
 * @param outbox by event id: the subscriber's own events
 * @param others what other subscribers have planned for the same contact
 */
export function planEvents(
  history: readonly TimelineEntry[],
  outbox: ReadonlyMap<string, OutboxEntry>,
  settings: WorkspaceSettings,
  others: readonly SentMark[] = [],
): PlannedEvent[] {
  const taken = new Set<string>(others.map(dedupeKey));
  const marks = new Map<string, SentMark>();
  const entries = [...outbox].sort(([, a], [, b]) => confidence(b) - confidence(a));
  for (const [eventId, entry] of entries) {
    const { kind, mark } = entry;
    if (!mark) continue;
    const key = dedupeKey(mark);
    const isRenamed = isDeliverable(kind) && mark.name !== eventNameFor(kind, settings);
    if (confidence(entry) === 0 && (taken.has(key) || isRenamed)) continue;
    taken.add(key);
    marks.set(eventId, mark);
  }

  const planned: PlannedEvent[] = [];
  const seen = new Set<string>();
  for (const event of history) {
    if (event.side !== 'customer' || !outbox.get(event.id)?.isPending || seen.has(event.id)) continue;
    seen.add(event.id);
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

/** What is on the contact stays, then what may be; what was never tried moves. */
function confidence(entry: OutboxEntry): number {
  return entry.isPending && !entry.wasAccepted ? Math.min(entry.attempts, 1) : 2;
}

function dedupeKey(mark: SentMark): string {
  return `${normalizeEventName(mark.name)}@${mark.atS}`;
}

function reserve(taken: Set<string>, name: string, atMs: number): SentMark {
  let atS = Math.floor(atMs / 1_000);
  while (taken.has(dedupeKey({ name, atS }))) atS += 1;
  taken.add(dedupeKey({ name, atS }));
  return { name, atS };
}

/**
 * The attributes that differ from what was last written to the same contact.
 *
 * @param written `null`: unknown; all are written, also those without a value
 */
export function changedAttributes(
  wanted: Readonly<Record<string, unknown>>,
  written: Readonly<Record<string, unknown>> | null,
): Record<string, unknown> {
  if (written === null) return { ...wanted };
  const changed: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(wanted)) {
    // An empty text means no value where a contact does not accept `null`.
    const known = written[name] === '' ? null : (written[name] ?? null);
    if (value !== known) changed[name] = value;
  }
  return changed;
}

/**
 * Renewals are announced some time after the period's end, by some stores an hour later: a subscription that should
 * renew counts as ended only after this time.
 */
const RENEWAL_DELAY_MS = 2 * 60 * 60_000;
const END_DELAY_MS = 60_000;

/** When time alone will next change the state; `null`: never. */
export function nextChangeAt(state: SubscriberState, nowMs: number): number | null {
  const bought = [...state.subscriptions, ...state.grants].filter(({ givesAccess }) => givesAccess);
  // RevenueCat's API can list an entitlement that nothing known gives.
  const listed = state.entitlements.filter(({ productId, store }) => productId === null && store === null);
  const changes = [
    ...bought.map(({ accessEndsAtMs, willRenew }) => ({ atMs: accessEndsAtMs, willRenew })),
    ...listed.map(({ endsAtMs }) => ({ atMs: endsAtMs, willRenew: false })),
  ].flatMap(({ atMs, willRenew }) =>
    atMs === null ? [] : [atMs + (willRenew ? RENEWAL_DELAY_MS : END_DELAY_MS)],
  );
  const next = Math.min(...changes.filter((atMs) => atMs > nowMs));
  return Number.isFinite(next) ? next : null;
}
