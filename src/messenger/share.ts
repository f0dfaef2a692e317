import { backLink, canvas, type InboxCanvas, text } from '../intercom/canvas.ts';
import { speechFor } from './words.ts';

/** A canvas that also puts a card into the reply. */
export type SharingCanvas = InboxCanvas & {
  readonly card_creation_options?: Readonly<Record<string, string>>;
};

/**
 * Puts the customer's own card into the reply: with options in its answer, Intercom asks the Messenger side for
 * a card. That card is live and shows each viewer their own subscription, so nothing of the customer travels
 * with it. Source: Intercom, "Canvas Kit: response objects", `card_creation_options`.
 *
 * @param options.locale the teammate's, BCP 47
 * @param options.back the label of the way back
 * @param options.isVerified whether the contact's external id is an app user id of the customer shown: nobody else
 *   would see anything in the card
 */
export function shareCard(options: { locale: string; back: string; isVerified: boolean }): SharingCanvas {
  const { share } = speechFor(options.locale).words;
  if (!options.isVerified) return canvas([text(share.unverified, 'muted'), ...backLink(options.back)]);
  return {
    ...canvas([text(share.added), ...backLink(options.back)]),
    card_creation_options: { card: 'subscription' },
  };
}

/** Whether the customer would see their own data in the card. */
export function canShare(
  contact: { readonly externalId: string | null; readonly isLead: boolean },
  appUserIds: readonly string[],
): boolean {
  return !contact.isLead && contact.externalId !== null && appUserIds.includes(contact.externalId);
}

/** The answer to an inbox submit: the options stand beside the canvas. */
export function inboxAnswer(answer: SharingCanvas): {
  canvas: InboxCanvas;
  card_creation_options?: Readonly<Record<string, string>>;
} {
  const { card_creation_options, ...rest } = answer;
  return { canvas: rest, ...(card_creation_options === undefined ? {} : { card_creation_options }) };
}
