import { languageOf } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { backLink, canvas, type InboxCanvas, text } from '../intercom/canvas.ts';

/** A canvas that also puts a card into the reply. */
export type SharingCanvas = InboxCanvas & {
  readonly card_creation_options?: Readonly<Record<string, string>>;
};

/**
 * Puts the customer's own card into the reply: with options in the response, Intercom requests a card from the
 * Messenger side. That card is live and shows each viewer their own subscription, so it carries no customer data.
 * Source: Intercom, "Canvas Kit: response objects", `card_creation_options`.
 *
 * @param options.locale the teammate's, BCP 47
 * @param options.back label of the back link
 * @param options.isVerified see {@link canShare}: any other customer would see an empty card
 */
export function shareCard(options: { locale: string; back: string; isVerified: boolean }): SharingCanvas {
  const { t } = messagesFor(languageOf(options.locale) ?? 'en');
  const back = backLink(options.back);
  if (!options.isVerified) return canvas([text(t('messenger.share.unverified'), 'muted'), back]);
  return {
    ...canvas([text(t('messenger.share.added')), back]),
    card_creation_options: { card: 'subscription' },
  };
}

/** Whether the contact would see their own data in the card. */
export function canShare(
  contact: { readonly externalId: string | null; readonly isLead: boolean },
  appUserIds: readonly string[],
): boolean {
  return !contact.isLead && contact.externalId !== null && appUserIds.includes(contact.externalId);
}

/** The response to an inbox submit: the options are not part of the canvas. */
export function inboxAnswer(answer: SharingCanvas): {
  canvas: InboxCanvas;
  card_creation_options?: Readonly<Record<string, string>>;
} {
  const { card_creation_options, ...rest } = answer;
  return { canvas: rest, ...(card_creation_options === undefined ? {} : { card_creation_options }) };
}
