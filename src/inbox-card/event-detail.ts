import { eventText } from '../i18n/event-text.ts';
import { storeText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  table,
  text,
} from '../intercom/canvas.ts';
import type { EventDelivery, TimelineEntry } from '../subscribers/store.ts';
import { entitlementLabel } from '../subscription/names.ts';
import { type CardContext, type Customer, page } from './context.ts';
import { dashboardUrl } from './external-links.ts';
import { readTimelineEvent } from './timeline-store.ts';
import type { DeliveryReason } from './words/types.ts';

const MAX_OTHER_FIELDS = 20;

/** Everything of one event, with how it stands in Intercom. An id that is not on this timeline shows nothing. */
export async function eventDetail(
  context: CardContext,
  customer: Customer,
  eventId: string,
): Promise<InboxCanvas> {
  const { words, dates, services, request } = context;
  const event =
    customer.fallbackEvents.find((entry) => entry.id === eventId) ??
    (await readTimelineEvent(
      services.readDatabase,
      request.workspaceId,
      customer.project.projectId,
      customer.sources,
      eventId,
    ));
  const toTimeline = button('timeline', words.buttons.timeline, 'link');
  if (!event) return page(context, [text(words.states.gone, 'muted'), toTimeline]);
  const { title, subtitle } = eventText(context.messages, 'agent', event, customer.names);
  const about = [dates.dateTime(event.atMs), subtitle].filter(Boolean).join(' · ');
  const others = otherFields(event);
  const components: Component[] = [
    text(escapeMarkdown(title), 'header', true),
    text(escapeMarkdown(clip(about, 500)), 'muted'),
    // Not in the table: the inbox would cut it, and what went wrong stands at its end.
    text(`${words.labels.delivery}: ${escapeMarkdown(deliveryText(context, event.delivery))}`),
    ...table([
      [
        words.labels.nextTry,
        event.delivery.state === 'pending' ? on(context, event.delivery.nextTryAtMs) : null,
      ],
      [words.labels.attempts, event.delivery.attempts > 1 ? String(event.delivery.attempts) : null],
      ...fields(context, customer, event),
    ]),
    ...(others.length === 0 ? [] : [text(words.titles.moreFields, 'header'), ...table(others)]),
    linkButton('open-revenuecat', words.buttons.openRevenueCat, dashboardUrl(customer)),
    toTimeline,
  ];
  return page(context, components);
}

function on(context: CardContext, atMs: number | null): string | null {
  return atMs === null ? null : context.dates.dateTime(atMs);
}

function fields(
  context: CardContext,
  customer: Customer,
  event: TimelineEntry,
): (readonly [string, string | null | undefined])[] {
  const { words } = context;
  const { labels } = words;
  const money = event.price && context.messages.money(event.price);
  const usd =
    event.priceUsdCents === null || event.price === null || event.price.currency === 'USD'
      ? null
      : context.messages.money({ amountMinor: event.priceUsdCents, currency: 'USD' });
  return [
    [labels.price, usd && money ? `${money} (${usd})` : money],
    [labels.product, event.productId],
    [labels.newProduct, event.newProductId],
    [labels.entitlement, event.entitlements.map((key) => entitlementLabel(key, customer.names)).join(', ')],
    [labels.store, storeText(context.messages, event.store)],
    [labels.environment, event.environment && words.environments[event.environment]],
    [labels.periodType, event.periodType],
    [labels.periodStart, on(context, event.purchasedAtMs)],
    [labels.periodEnd, on(context, event.expiresAtMs)],
    [labels.graceEnds, on(context, event.gracePeriodEndsAtMs)],
    [labels.resumes, on(context, event.resumesAtMs)],
    [labels.renewalNumber, event.renewalNumber === null ? null : String(event.renewalNumber)],
    [labels.offer, event.offerCode],
    [labels.familySharing, event.isFamilyShare ? words.yes : null],
    [labels.country, event.country],
    [labels.from, event.transferredFrom.join(', ')],
    [labels.to, event.transferredTo.join(', ')],
    [labels.transaction, event.transactionId],
    [labels.originalTransaction, event.originalTransactionId],
    [labels.type, event.type],
    // A stand-in has no id of RevenueCat's yet.
    [labels.eventId, event.delivery.reason === 'grant' ? null : event.id],
  ];
}

/** What the typed fields already say, in RevenueCat's names, and what is shown elsewhere. */
const SHOWN = new Set([
  'id',
  'event_id',
  'type',
  'event_timestamp_ms',
  'environment',
  'purchase_environment',
  'store',
  'product_id',
  'new_product_id',
  'entitlement_id',
  'entitlement_ids',
  'period_type',
  'purchased_at_ms',
  'expiration_at_ms',
  'grace_period_expiration_at_ms',
  'auto_resume_at_ms',
  'price',
  'price_in_purchased_currency',
  'currency',
  'transaction_id',
  'original_transaction_id',
  'is_family_share',
  'renewal_number',
  'offer_code',
  'country_code',
  'transferred_from',
  'transferred_to',
  'aliases',
  'subscriber_attributes',
]);

/** Under their own names, as RevenueCat documents them: whoever looks for them knows these. */
function otherFields(event: TimelineEntry): [string, string][] {
  return Object.entries(event.raw)
    .flatMap(([name, value]): [string, string][] => {
      if (SHOWN.has(name) || value === null || value === '') return [];
      const plain = typeof value === 'object' ? JSON.stringify(value) : String(value);
      return [[name, plain]];
    })
    .slice(0, MAX_OTHER_FIELDS);
}

/** Where an event stands on its way to the contact, in words. */
export function deliveryText(context: CardContext, delivery: EventDelivery): string {
  const { delivery: say } = context.words;
  const { reason } = delivery;
  switch (delivery.state) {
    case 'delivered':
      return say.delivered(delivery.mark?.name ?? null, on(context, delivery.deliveredAtMs));
    case 'failed':
      return say.failed(reasonText(context, reason));
    case 'pending':
      if (reason === 'waiting_for_contact') return say.waiting;
      return reason === null ? say.pending : say.retrying(reasonText(context, reason));
    case 'skipped':
      if (reason === 'grant') return say.madeHere;
      if (reason === 'switched_off') return say.switchedOff;
      return reason === 'sandbox' ? say.sandbox : say.timelineOnly;
  }
}

/** A code has words; anything else is Intercom's own message. */
function reasonText(context: CardContext, reason: string | null): string {
  const { reasons } = context.words.delivery;
  if (reason === null) return reasons.intercom_rejected;
  return Object.hasOwn(reasons, reason) ? reasons[reason as DeliveryReason] : clip(reason, 200);
}
