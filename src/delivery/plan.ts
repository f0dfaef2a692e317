import type { SentAs, TimelineEntry } from '../subscribers/stored-events.ts';
import { type DeliverableKind, defaultEventName, isDeliverable } from '../subscription/kinds.ts';
import { unexplainedEntitlements } from '../subscription/state.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { HOUR_MS, MINUTE_MS } from '../time.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';

export type PlannedEvent =
  | { readonly action: 'send'; readonly entry: TimelineEntry; readonly sentAs: SentAs }
  | {
      readonly action: 'skip';
      readonly entry: TimelineEntry;
      readonly reason: 'switched_off' | 'sandbox' | 'timeline_only';
    };

export type PlannedSend = Extract<PlannedEvent, { action: 'send' }>;

/** The name of a kind's data event in a workspace; a blank one means the default. */
export function eventNameFor(kind: DeliverableKind, { events }: Pick<WorkspaceSettings, 'events'>): string {
  return events[kind]?.name.trim() || defaultEventName(kind);
}

/** An event's name as Intercom compares it: case-insensitive, with `-` for `.` and `$`. Source: API, "Event model". */
export function normalizeEventName(name: string): string {
  return name.trim().toLowerCase().replaceAll(/[.$]/g, '-');
}

/**
 * Plans the data events of one subscriber, oldest first.
 *
 * Intercom removes duplicates by contact, name and second, so two different events that would share all three are moved
 * one second apart. The contact means its external id; how Intercom compares contacts without one is UNVERIFIED. An
 * event that was planned before keeps its second, unless it was never tried and its second is taken by an event of a
 * merged subscriber or of `others`. An event that was never tried also gets the currently configured name, since it may
 * have waited months for its contact.
 *
 * @param stored the events stored for the subscriber itself: events that came by a transfer are sent for their source
 * @param others what other subscribers have planned for the same contact
 */
export function planEvents(
  stored: readonly TimelineEntry[],
  settings: WorkspaceSettings,
  others: readonly SentAs[] = [],
): PlannedEvent[] {
  const entries = stored.filter(({ side }) => side === 'customer');
  const taken = new Set<string>(others.map(dedupeKey));
  const reserved = new Map<TimelineEntry, SentAs>();
  for (const entry of [...entries].sort((a, b) => confidence(b) - confidence(a))) {
    const { sentAs } = entry.delivery;
    if (!sentAs) continue;
    const key = dedupeKey(sentAs);
    const isRenamed = isDeliverable(entry.kind) && sentAs.name !== eventNameFor(entry.kind, settings);
    if (confidence(entry) === 0 && (taken.has(key) || isRenamed)) continue;
    taken.add(key);
    reserved.set(entry, sentAs);
  }

  const planned: PlannedEvent[] = [];
  for (const entry of entries) {
    const { kind, delivery, environment, atMs } = entry;
    if (delivery.state !== 'pending') continue;
    // A replayed event that is already on a contact cannot be held back.
    const isNew = delivery.contactId === null;
    if (!isDeliverable(kind)) {
      planned.push({ action: 'skip', entry, reason: 'timeline_only' });
    } else if (isNew && environment === 'sandbox' && !settings.sandbox.deliver) {
      planned.push({ action: 'skip', entry, reason: 'sandbox' });
    } else if (isNew && settings.events[kind]?.enabled === false) {
      planned.push({ action: 'skip', entry, reason: 'switched_off' });
    } else {
      const sentAs = reserved.get(entry) ?? reserve(taken, eventNameFor(kind, settings), atMs);
      planned.push({ action: 'send', entry, sentAs });
    }
  }
  return planned;
}

export function isUnsaved(planned: PlannedEvent): boolean {
  if (planned.action === 'skip') return true;
  const stored = planned.entry.delivery.sentAs;
  return stored?.name !== planned.sentAs.name || stored.atS !== planned.sentAs.atS;
}

/** Which event keeps a second that two share: 2 on the contact or no longer pending, 1 tried, 0 never tried. */
function confidence({ delivery }: TimelineEntry): number {
  return delivery.state === 'pending' && delivery.contactId === null ? Math.min(delivery.attempts, 1) : 2;
}

function dedupeKey({ name, atS }: SentAs): string {
  return `${normalizeEventName(name)}@${atS}`;
}

function reserve(taken: Set<string>, name: string, atMs: number): SentAs {
  let atS = Math.floor(atMs / 1_000);
  while (taken.has(dedupeKey({ name, atS }))) atS += 1;
  taken.add(dedupeKey({ name, atS }));
  return { name, atS };
}

/**
 * The attributes that differ from what was last written to the same contact.
 *
 * @param written `null`: unknown, so all attributes are returned, including those without a value
 */
export function changedAttributes(
  wanted: Readonly<Record<string, unknown>>,
  written: Readonly<Record<string, unknown>> | null,
): Record<string, unknown> {
  if (written === null) return { ...wanted };
  const changed: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(wanted)) {
    // An empty text is written in place of `null` where a contact does not accept `null`.
    const current = written[name] === '' ? null : (written[name] ?? null);
    if (value !== current) changed[name] = value;
  }
  return changed;
}

/**
 * Renewal events arrive some time after the period's end, from some stores an hour later. A subscription that should
 * renew counts as ended only after this delay.
 */
const RENEWAL_DELAY_MS = 2 * HOUR_MS;
const END_DELAY_MS = MINUTE_MS;

/** When time alone will next change the state; `null`: never. */
export function nextChangeAt(state: SubscriberState, nowMs: number): number | null {
  const bought = [...state.subscriptions, ...state.grants].filter(({ givesAccess }) => givesAccess);
  const changes = [
    ...bought.map(({ accessEndsAtMs, willRenew }) => ({ atMs: accessEndsAtMs, willRenew })),
    ...unexplainedEntitlements(state).map(({ endsAtMs }) => ({ atMs: endsAtMs, willRenew: false })),
  ].flatMap(({ atMs, willRenew }) =>
    atMs === null ? [] : [atMs + (willRenew ? RENEWAL_DELAY_MS : END_DELAY_MS)],
  );
  const next = Math.min(...changes.filter((atMs) => atMs > nowMs));
  return Number.isFinite(next) ? next : null;
}
