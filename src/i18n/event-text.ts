import { isCancelledByStore, isGrant } from '../subscription/kinds.ts';
import {
  appStoreName,
  entitlementLabel,
  type Names,
  productName,
  storeName,
  titleCase,
} from '../subscription/names.ts';
import type { LifecycleEvent } from '../subscription/read-event.ts';
import { grantedEntitlement } from '../subscription/state-builder.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { isRecord } from '../text.ts';
import type { MessageKey, Messages } from './messages.ts';
import { storeText, type Voice } from './sentences.ts';

interface Line {
  readonly m: Messages;
  readonly event: LifecycleEvent;
  readonly voice: Voice;
  readonly names: Names;
}

/** One line of a timeline: a title, and a subtitle with everything else except the date. */
export function eventText(
  m: Messages,
  event: LifecycleEvent,
  { withStore, ...reader }: Pick<Line, 'voice' | 'names'> & { readonly withStore?: boolean },
) {
  const line = { ...reader, m, event };
  const parts = partsOf(line);
  const place = withStore ? placeText(line) : null;
  // A reason may name the store already.
  if (place !== null && !parts.some((part) => part?.includes(place))) parts.push(place);
  return { title: titleText(line), subtitle: [...new Set(parts.filter(Boolean))].join(' · ') };
}

/** Whether lines name their store: otherwise the same product bought in two stores would give identical lines. */
export function isInSeveralStores({ subscriptions }: Pick<SubscriberState, 'subscriptions'>): boolean {
  return new Set(subscriptions.map(({ store }) => store)).size > 1;
}

/** Apple's rule forbids naming stores to customers, except those that come with a device. */
function placeText({ m, voice, event: { store } }: Line): string | null {
  if (store === 'PROMOTIONAL') return null;
  return voice === 'customer' ? appStoreName(store) : storeText(m, store);
}

/** Titles that have a message: the event kinds, and the other names that {@link titleOf} returns. */
type Title = MessageKey extends infer Key ? (Key extends `event.agent.title.${infer T}` ? T : never) : never;

/** Customers get their own titles for the kinds that they see. An unknown type shows as its name in title case. */
function titleText({ m, voice, event }: Line): string {
  const title = titleOf(event);
  if (title === 'unknown') return titleCase(event.type) || event.type;
  const key = `event.${voice}.title.${title}`;
  return m.t(m.has(key) ? key : `event.agent.title.${title}`);
}

const PAYWALL_TITLES: ReadonlyMap<string, Title> = new Map([
  ['PAYWALL_IMPRESSION', 'paywall_seen'],
  ['PAYWALL_CLOSE', 'paywall_closed'],
  ['PAYWALL_CANCEL', 'paywall_cancelled'],
  ['PAYWALL_EXIT_OFFER', 'paywall_exit_offer'],
  ['PAYWALL_COMPONENT_INTERACTED', 'paywall_tapped'],
]);

function titleOf(event: LifecycleEvent): Title | 'unknown' {
  const { kind, side } = event;
  switch (kind) {
    case 'expiration':
      return endTitleOf(event);
    case 'cancellation':
    case 'trial_cancelled':
      return event.cancelReason === 'BILLING_ERROR' && !isCancelledByStore(event) ? 'payment_failed' : kind;
    case 'billing_issue':
      return 'payment_failed';
    case 'transfer':
      if (event.isWithinCustomer) return 'transfer_within';
      return side === 'source' ? 'transfer_given' : 'transfer_received';
    case 'purchase_redeemed':
      return side === 'source' ? 'transfer_given' : kind;
    case 'price_increase_consent':
      return event.type.endsWith('APPROVED') ? 'price_consent_approved' : 'price_consent_required';
    case 'paywall':
      return PAYWALL_TITLES.get(event.type) ?? 'paywall_other';
    case 'virtual_currency':
      return currencyAmounts(event).some(({ amount }) => amount > 0) ? 'currency_received' : 'currency_spent';
    default:
      return kind;
  }
}

function endTitleOf(event: LifecycleEvent): Title {
  if (event.store === 'PROMOTIONAL') return 'grant_ended';
  if (isPause(event)) return 'paused';
  return event.periodType === 'TRIAL' ? 'trial_ended' : 'expiration';
}

/** Whether access ended because of a pause, after which the subscription continues. */
function isPause({ expirationReason }: LifecycleEvent): boolean {
  return expirationReason === 'SUBSCRIPTION_PAUSED';
}

/** An expiration only says that a refund caused it: the refund's own line says who gave the money back. */
function endReason({ expirationReason }: LifecycleEvent): string | null {
  return expirationReason === 'CUSTOMER_SUPPORT' ? 'REFUNDED' : expirationReason;
}

/** What the line under the title joins; absent parts are `null` or empty. */
function partsOf(line: Line): (string | null)[] {
  const { m, event, names } = line;
  const { raw, offerCode } = event;
  // RevenueCat generates the product name of a grant: rc_promo_pro_custom.
  const product = isGrant(event) ? entitlementLabels(line) : productName(event.productId, names);
  switch (event.kind) {
    case 'promotional_granted':
    case 'promotional_revoked':
    case 'temporary_entitlement_grant':
      return [entitlementLabels(line) || product];
    case 'expiration':
      if (isGrant(event) || isPause(event)) return [product];
      return [product, reasonText(line, endReason(event))];
    case 'cancellation':
    case 'trial_cancelled':
      return [product, reasonText(line, isCancelledByStore(event) ? 'STORE_CANCELLED' : event.cancelReason)];
    case 'refund':
      // Another family member asked for the refund of a family share.
      return [product, sumText(line), familyText(line) ?? reasonText(line, 'CUSTOMER_SUPPORT')];
    case 'billing_issue':
      return [product, reasonText(line, 'BILLING_ERROR')];
    case 'product_change': {
      const to = productName(event.newProductId, names);
      // A change back to the current plan, which withdraws a pending change.
      return [to === null || to === product ? product : m.t('event.change', { from: product, to })];
    }
    case 'experiment_enrollment':
      return [experimentText(line)];
    case 'paywall':
      return [textOf(raw.paywall_name) ?? textOf(raw.paywall_id)];
    case 'virtual_currency':
      return [
        currencyText(line),
        names.product(event.productId ?? '') ?? textOf(raw.product_display_name) ?? product,
      ];
    case 'transfer':
      return [placeText(line)];
    case 'subscriber_alias':
      return [];
    case 'unknown':
      return [event.type, product, sumText(line)];
    default:
      return [
        product,
        sumText(line),
        offerCode === null ? null : m.t('event.offer', { code: offerCode }),
        familyText(line),
      ];
  }
}

function familyText({ m, event: { isFamilyShare } }: Line): string | null {
  return isFamilyShare ? m.t('sentence.note.family') : null;
}

function entitlementLabels({ m, event, names }: Line): string {
  // Older events of a grant name its entitlement only in the product name that RevenueCat generates.
  const { entitlements } = event;
  const keys = entitlements.length === 0 && isGrant(event) ? [grantedEntitlement(event)] : entitlements;
  return m.commaList(keys.map((key) => entitlementLabel(key, names)));
}

/** A sum of zero says nothing: the title of a trial says that it is free. */
function sumText({ m, event: { price } }: Line): string | null {
  if (price === null || price.amountMinor === 0) return null;
  return m.money({ ...price, amountMinor: Math.abs(price.amountMinor) });
}

/** Empty for a refund by an unknown party: its title says everything. */
function reasonText(line: Line, reason: string | null): string | null {
  const { m, voice, event } = line;
  if (reason === null) return null;
  // A family member neither turned off renewal nor has a card that could be charged.
  if (voice === 'customer' && event.isFamilyShare) return familyText(line);
  const key = `event.${voice}.reason.${reason}`;
  if (!m.has(key)) return voice === 'agent' ? titleCase(reason) : null;
  const store = event.store === 'PROMOTIONAL' ? null : event.store;
  const named = voice === 'agent' || appStoreName(store) !== null ? store : null;
  const theStore = m.t('event.theStore', { store: named, name: storeName(named) });
  return m.t(key, { store, theStore });
}

function experimentText({ m, event: { raw } }: Line): string | null {
  const experiment = textOf(raw.experiment_id);
  const variant = textOf(raw.experiment_variant);
  return variant === null ? experiment : m.t('event.variant', { experiment, variant });
}

/** The title says whether currency was received or spent. For an exchange, the sign of each amount does. */
function currencyText({ m, event }: Line): string {
  const all = currencyAmounts(event);
  const isExchange = new Set(all.map(({ amount }) => Math.sign(amount))).size > 1;
  const amounts = all.map(({ amount, name }) =>
    [m.number(isExchange ? amount : Math.abs(amount)), name].filter(Boolean).join(' '),
  );
  return m.commaList(amounts);
}

function currencyAmounts({ raw }: LifecycleEvent): { amount: number; name: string | null }[] {
  if (!Array.isArray(raw.adjustments)) return [];
  return raw.adjustments.flatMap((item: unknown) => {
    if (!isRecord(item) || typeof item.amount !== 'number') return [];
    const currency = isRecord(item.currency) ? item.currency : {};
    return [{ amount: item.amount, name: textOf(currency.name) ?? textOf(currency.code) }];
  });
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
