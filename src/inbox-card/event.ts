import { eventText } from '../i18n/event-text.ts';
import { labeled, storeText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  type Row,
  table,
  text,
  tightText,
} from '../intercom/canvas.ts';
import type { EventDelivery, TimelineEntry } from '../subscribers/stored-events.ts';
import { entitlementLabel } from '../subscription/names.ts';
import { type CardContext, revenueCatButton } from './context.ts';
import type { CustomerContext } from './customer.ts';
import { findEvent } from './timeline-repository.ts';

const MAX_OTHER_FIELDS = 20;

/** What an agent needs to know about one event, with its ids and its delivery to Intercom. */
export async function eventDetail(context: CustomerContext, id: string): Promise<InboxCanvas> {
  const event = await findEvent(context, id);
  if (!event) return missingEvent(context);
  const { customer, messages: m } = context;
  const { title, subtitle } = eventText(m, event, { voice: 'agent', names: customer.names });
  const about = [m.dateTime(event.atMs), subtitle].filter(Boolean).join(' · ');
  return context.page([
    tightText(escapeMarkdown(title), 'header'),
    text(escapeMarkdown(clip(about, 500)), 'muted'),
    // Not in the table: the inbox truncates it, and the cause of a failure is at its end.
    text(labeled(m, m.t('card.label.delivery'), escapeMarkdown(deliveryText(context, event.delivery)))),
    table(eventRows(context, event)),
    button(`technical:${event.id}`, m.t('card.button.technical'), 'secondary'),
    revenueCatButton(context),
    timelineButton(context),
  ]);
}

/** Everything else that RevenueCat sent. */
export async function technicalEvent(context: CustomerContext, id: string): Promise<InboxCanvas> {
  const event = await findEvent(context, id);
  if (!event) return missingEvent(context);
  const { messages: m, customer } = context;
  const others = otherFields(event);
  const { renewalNumber, delivery } = event;
  return context.page([
    tightText(escapeMarkdown(eventText(m, event, { voice: 'agent', names: customer.names }).title), 'header'),
    text(m.dateTime(event.atMs), 'muted'),
    table([
      [m.t('card.label.type'), event.type],
      [m.t('card.label.environment'), event.environment && m.t(`card.environment.${event.environment}`)],
      [m.t('card.label.periodType'), event.periodType],
      [m.t('card.label.renewalNumber'), renewalNumber === null ? null : String(renewalNumber)],
      [m.t('card.label.country'), event.country],
      [m.t('card.label.originalTransaction'), event.originalTransactionId],
      [m.t('card.label.attempts'), delivery.attempts > 1 ? String(delivery.attempts) : null],
    ]),
    others.length > 0 && text(m.t('card.title.otherFields'), 'header'),
    table(others),
    button(`event:${event.id}`, m.t('card.button.event'), 'link'),
    timelineButton(context),
  ]);
}

function missingEvent(context: CardContext): InboxCanvas {
  return context.page([text(context.messages.t('card.state.notFound'), 'muted'), timelineButton(context)]);
}

function timelineButton({ messages: m }: CardContext): Component {
  return button('timeline', m.t('card.button.timeline'), 'link');
}

function eventRows(context: CustomerContext, event: TimelineEntry): Row[] {
  const { customer, messages: m } = context;
  const { price, delivery, entitlements } = event;
  const time = (atMs: number | null): string | null => (atMs === null ? null : m.dateTime(atMs));
  return [
    [m.t('card.label.nextAttempt'), delivery.state === 'pending' ? time(delivery.nextTryAtMs) : null],
    [m.t('card.label.price'), price?.amountMinor ? m.money(price) + inDollars(context, event) : null],
    [m.t('card.label.product'), event.productId],
    [m.t('card.label.newProduct'), event.newProductId],
    [
      m.t('card.label.entitlement'),
      m.commaList(entitlements.map((key) => entitlementLabel(key, customer.names))),
    ],
    [m.t('card.label.store'), event.store === 'PROMOTIONAL' ? null : storeText(m, event.store)],
    [m.t('card.label.environment'), event.environment === 'sandbox' ? m.t('card.environment.sandbox') : null],
    [m.t('card.label.periodStart'), time(event.purchasedAtMs)],
    [m.t('card.label.periodEnd'), time(event.expiresAtMs)],
    [m.t('card.label.graceEnds'), time(event.gracePeriodEndsAtMs)],
    [m.t('sentence.label.resumes'), time(event.resumesAtMs)],
    [m.t('card.label.offer'), event.offerCode],
    [m.t('card.label.familySharing'), event.isFamilyShare ? m.t('card.yes') : null],
    [m.t('card.label.from'), event.transferredFrom.join(', ')],
    [m.t('card.label.to'), event.transferredTo.join(', ')],
    [m.t('card.label.transaction'), event.transactionId],
    // RevenueCat has not assigned an id to this grant yet.
    [m.t('card.label.eventId'), delivery.reason === 'grant' ? null : event.id],
  ];
}

/** The price as RevenueCat converted it to US dollars, if it was paid in another currency. */
function inDollars({ messages: m }: CardContext, { price, priceUsdCents }: TimelineEntry): string {
  if (priceUsdCents === null || price?.currency === 'USD') return '';
  return ` (${m.money({ amountMinor: priceUsdCents, currency: 'USD' })})`;
}

/** RevenueCat's names of fields that are already shown here or elsewhere. */
const SHOWN_FIELDS = new Set(
  `id event_id type event_timestamp_ms environment purchase_environment store product_id new_product_id entitlement_id
  entitlement_ids period_type purchased_at_ms expiration_at_ms grace_period_expiration_at_ms auto_resume_at_ms price
  price_in_purchased_currency currency transaction_id original_transaction_id is_family_share renewal_number offer_code
  country_code transferred_from transferred_to aliases subscriber_attributes`.split(/\s+/),
);

/** The other fields, under RevenueCat's documented names, which engineers know. */
function otherFields(event: TimelineEntry): [string, string][] {
  return Object.entries(event.raw)
    .filter(([name, value]) => !SHOWN_FIELDS.has(name) && value !== null && value !== '')
    .map(([name, value]): [string, string] => [
      name,
      typeof value === 'object' ? JSON.stringify(value) : String(value),
    ])
    .slice(0, MAX_OTHER_FIELDS);
}

function deliveryText(
  { messages: m }: CardContext,
  { state, reason, sentAs, deliveredAtMs }: EventDelivery,
): string {
  switch (state) {
    case 'delivered': {
      const time = deliveredAtMs === null ? null : m.dateTime(deliveredAtMs);
      return m.t('card.delivery.delivered', { name: sentAs?.name ?? null, time });
    }
    case 'failed':
      return m.t('card.delivery.failed', { reason: reasonText(m, reason) });
    case 'pending':
      if (reason === 'waiting_for_contact') return m.t('card.delivery.waiting_for_contact');
      if (reason === null) return m.t('card.delivery.pending');
      return m.t('card.delivery.retrying', { reason: reasonText(m, reason) });
    case 'skipped': {
      const listed = (['grant', 'switched_off', 'sandbox'] as const).find((code) => code === reason);
      return m.t(`card.delivery.${listed ?? 'timelineOnly'}`);
    }
  }
}

/** A known failure code has a text; anything else is Intercom's own message. */
function reasonText(m: CardContext['messages'], reason: string | null): string {
  const key = `card.deliveryReason.${reason ?? 'intercom_rejected'}`;
  return m.has(key) ? m.t(key) : clip(reason ?? '', 200);
}
