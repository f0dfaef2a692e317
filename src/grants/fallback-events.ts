import type { Sql } from '../database/sql.ts';
import type { TimelineEntry } from '../subscribers/stored-events.ts';
import { toMajor } from '../subscription/money.ts';
import { readEvent } from '../subscription/read-event.ts';
import { DAY_MS } from '../time.ts';
import {
  type Action,
  CLOCK_TOLERANCE_MS,
  doneAtMs,
  type Grant,
  grantEndMs,
  type StoreAction,
} from './action.ts';
import { ACTION_KINDS } from './action-kinds.ts';

const GRANTED: ReadonlySet<Grant['state']> = new Set(['confirmed', 'revoking', 'revoked']);

/** Events for the actions whose webhook has not arrived yet, oldest first; each webhook replaces one. */
export async function readFallbackEvents(sql: Sql, actions: readonly Action[]): Promise<TimelineEntry[]> {
  const expected = actions
    .flatMap((action) => (action.kind === 'grant' ? grantEvents(action) : storeEvents(action)))
    .sort((a, b) => a.atMs - b.atMs);
  const [first] = actions;
  const [oldest] = expected;
  if (!first || !oldest) return [];
  const kinds = ['trial_cancelled', ...expected.map(({ kind }) => kind)];
  const { workspaceId, subscriberId } = first;
  // An action does not record whether the subscription that it cancelled was a trial.
  const reported = await sql.query<ReportedEvent>(
    `select case kind when 'trial_cancelled' then 'cancellation' else kind end as kind,
            event_at_ms::float8 as "atMs", fields->>'product_id' as "productId",
            case json_typeof(fields->'entitlement_ids') when 'array' then fields->'entitlement_ids'
                 else json_build_array(fields->>'entitlement_id') end as entitlements
       from events
      where workspace_id = $1 and subscriber_id = $2 and kind = any($3) and event_at_ms >= $4
      order by event_at_ms`,
    [workspaceId, subscriberId, kinds, oldest.atMs - CLOCK_TOLERANCE_MS],
    'read-reported-actions',
  );
  const others = withoutReported(expected, reported, (event, { productId, entitlements }) =>
    isGrantEvent(event)
      ? event.entitlements.some((lookupKey) => entitlements.includes(lookupKey))
      : productId === event.productId,
  );
  // As a last resort, a store action matches a webhook by kind alone: stores use several ids for the same product.
  return withoutReported(others, reported, (event) => !isGrantEvent(event));
}

/**
 * Whether a snapshot from this time lacks what was done. A newer snapshot usually shows it. Only a webhook shows which
 * charge was refunded, when a subscription was cancelled, and where purchases went.
 */
export function isMissingFromSnapshot(
  snapshotAtMs: number | null,
  { kind, store, atMs }: TimelineEntry,
): boolean {
  // Nothing is missing for Google Play: the refunded charge can be an earlier one, and access stays.
  if (kind === 'refund') return store !== 'PLAY_STORE';
  const isInNoSnapshot = kind === 'transfer' || kind === 'cancellation';
  return isInNoSnapshot || snapshotAtMs === null || atMs > snapshotAtMs;
}

function isGrantEvent({ kind }: Pick<TimelineEntry, 'kind'>): boolean {
  return kind === 'promotional_granted' || kind === 'promotional_revoked';
}

/** The expected events that are not reported yet. Each reported event matches one, which removes it from `unused`. */
function withoutReported(
  expected: readonly TimelineEntry[],
  unused: ReportedEvent[],
  isSame: (event: TimelineEntry, reported: ReportedEvent) => boolean,
): TimelineEntry[] {
  return expected.filter((event) => {
    const index = unused.findIndex(
      (reported) =>
        reported.kind === event.kind &&
        reported.atMs > event.atMs - CLOCK_TOLERANCE_MS &&
        reported.atMs < event.atMs + DAY_MS &&
        isSame(event, reported),
    );
    if (index >= 0) unused.splice(index, 1);
    return index < 0;
  });
}

function grantEvents(grant: Grant): TimelineEntry[] {
  // While a removal is unconfirmed, the grant still counts as made. A grant that changed nothing has no webhook.
  const isMade = GRANTED.has(grant.state) && !grant.isUnchanged;
  // One removal, with one webhook, ends all grants of an entitlement; only the grant that it was called for has a call
  // time. The removal may be confirmed long after the call, and even after its webhook.
  const removedAtMs = grant.revokedAtMs === null ? null : grant.revokeCalledAtMs;
  return [
    ...(isMade ? [grantEvent(grant, 'promotional_granted', doneAtMs(grant))] : []),
    ...(removedAtMs === null ? [] : [grantEvent(grant, 'promotional_revoked', removedAtMs)]),
  ];
}

function grantEvent(
  grant: Grant,
  kind: 'promotional_granted' | 'promotional_revoked',
  atMs: number,
): TimelineEntry {
  const isGranted = kind === 'promotional_granted';
  return eventOf(grant, {
    id: `grant-${grant.actionId}-${kind}`,
    type: isGranted ? 'NON_RENEWING_PURCHASE' : 'CANCELLATION',
    event_timestamp_ms: atMs,
    store: 'PROMOTIONAL',
    entitlement_ids: [grant.lookupKey],
    period_type: 'PROMOTIONAL',
    purchased_at_ms: doneAtMs(grant),
    expiration_at_ms: grantEndMs(grant),
    cancel_reason: isGranted ? null : 'DEVELOPER_INITIATED',
  });
}

/** The event that RevenueCat sends after an action, if it sends one. */
function storeEvents(action: StoreAction): TimelineEntry[] {
  const { kind, details, appUserId, target, state } = action;
  const { amount, productId, store, purchaseId, environment = 'production' } = details;
  const { event } = ACTION_KINDS[kind];
  if (!event || state !== 'confirmed') return [];
  const purchase = details.after ?? details.before;
  // RevenueCat may set the end back to the time of purchase, but access ended with the refund.
  const hasEnded =
    kind === 'refund' && details.targetType === 'subscription' && purchase?.givesAccess === false;
  return [
    eventOf(action, {
      ...event,
      id: `action-${action.actionId}`,
      event_timestamp_ms: doneAtMs(action),
      store,
      environment: environment.toUpperCase(),
      product_id: productId,
      expiration_at_ms: hasEnded ? doneAtMs(action) : purchase?.endsAtMs,
      transaction_id: details.transactionId ?? purchaseId,
      ...(kind === 'refund' && amount
        ? { price_in_purchased_currency: -toMajor(amount), currency: amount.currency }
        : {}),
      ...(kind === 'transfer' ? { transferred_from: [appUserId], transferred_to: [target] } : {}),
    }),
  ];
}

/** An event made here: it is not in the journal and is not sent to Intercom. */
function eventOf(action: Action, body: Readonly<Record<string, unknown>>): TimelineEntry {
  const { appUserId, projectId, createdAtMs: receivedAtMs } = action;
  const webhook = { app_user_id: appUserId, environment: 'PRODUCTION', ...body };
  return {
    // This is the source's card: the receiver of a transfer has a card of their own.
    ...readEvent(webhook, {
      receivedAtMs,
      fallbackId: action.actionId,
      side: action.kind === 'transfer' ? 'source' : 'customer',
    }),
    raw: {},
    projectId,
    receivedAtMs,
    delivery: {
      state: 'skipped',
      reason: 'grant',
      attempts: 0,
      nextTryAtMs: null,
      deliveredAtMs: null,
      firstTriedAtMs: null,
      sentAs: null,
      contactId: null,
    },
  };
}

type ReportedEvent = Pick<TimelineEntry, 'kind' | 'atMs' | 'productId' | 'entitlements'>;
