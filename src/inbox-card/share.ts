import { text } from '../intercom/canvas.ts';
import type { CardAnswer, CustomerContext } from './context.ts';
import type { CardRequest } from './request.ts';

/**
 * Puts the customer's own card into the reply: with options in the response, Intercom requests a card from the
 * Messenger side. That card is live and shows each viewer their own subscription, so it carries no customer data.
 * Source: Intercom, "Canvas Kit: response objects", `card_creation_options`.
 */
export function share(context: CustomerContext): CardAnswer {
  const { messages: m, page, request, customer } = context;
  if (!canShare(request.contact, customer.subscriber.appUserIds))
    return page([text(m.t('messenger.share.unverified'), 'muted')]);
  const canvas = page([text(m.t('messenger.share.added'))]);
  return JSON.stringify({ canvas, card_creation_options: { card: 'subscription' } });
}

/** Whether the contact would see their own data in the card. */
export function canShare(
  { externalId, isLead }: Pick<CardRequest['contact'], 'externalId' | 'isLead'>,
  appUserIds: readonly string[],
): boolean {
  return !isLead && externalId !== null && appUserIds.includes(externalId);
}
