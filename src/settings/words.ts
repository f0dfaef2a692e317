import type { DeliverableKind } from '../subscription/types.ts';

/** What a page says after a form was saved; addresses carry only these codes, never a text. */
export const FLASHES: ReadonlyMap<string, string> = new Map([
  ['events_saved', 'Event names saved. They apply to events that are sent from now on.'],
  ['card_saved', 'Language of the card saved.'],
  ['contacts_saved', 'Contact settings saved.'],
  ['grants_saved', 'Rules for grants saved.'],
  ['sandbox_saved', 'Sandbox setting saved.'],
  ['disconnected', 'The RevenueCat project is disconnected. Its history is kept.'],
  ['signing_saved', 'Signing secret saved. Unsigned webhooks are now refused.'],
  ['signing_removed', 'Signing secret removed.'],
  ['messenger_secret_saved', 'Messenger secret saved. Tokens are signed with it from now on.'],
  ['messenger_secret_removed', 'Messenger secret removed. Without it, no identity tokens are made.'],
  ['api_key_revoked', 'The key is revoked. It no longer works.'],
  ['replayed', 'Queued again. Reload in a moment to see how it went.'],
  ['replayed_none', 'There is nothing to send again.'],
  ['erased', 'The customer is erased.'],
  ['attributes_made', 'All contact attributes exist now.'],
  ['attributes_missing', 'Some attributes could still not be created. Intercom refused their names.'],
  ['access_saved', 'Access saved.'],
  ['checked', 'Checked just now: both Intercom and RevenueCat answered.'],
  [
    'checked_silent',
    'Not everything could be checked: Intercom or RevenueCat did not answer. Please try again.',
  ],
  [
    'uninstalled',
    'Subscription Timeline is uninstalled. Your data is kept for 30 days; install again to get it back.',
  ],
  ['session_ended', 'Your session has ended, and your last change was not saved. Sign in and make it again.'],
  ['intercom_away', 'Intercom did not answer. Please try again.'],
]);

/** Each kind as an admin reads it, and what it stands for. */
export const KIND_WORDS: Readonly<Record<DeliverableKind, readonly [label: string, meaning: string]>> = {
  initial_purchase: ['Initial purchase', 'A first purchase that is not a free trial'],
  trial_started: ['Trial started', 'A free trial began'],
  trial_converted: ['Trial converted', 'A free trial became a paid subscription'],
  trial_cancelled: ['Trial cancelled', 'A free trial will not continue'],
  renewal: ['Renewal', 'A subscription was paid for another period'],
  cancellation: ['Cancellation', 'A subscription will not renew'],
  non_subscription_purchase: ['Non-subscription purchase', 'A one-time purchase'],
  expiration: ['Expiration', 'Access ended'],
  billing_issue: ['Billing issue', 'The store could not charge the customer'],
  product_change: ['Product change', 'The customer chose another plan'],
  refund: ['Refund', 'The store gave the money back'],
  refund_reversed: ['Refund reversed', 'A refund was taken back'],
  uncancellation: ['Uncancellation', 'A cancelled subscription will renew after all'],
  subscription_paused: ['Subscription paused', 'A pause was scheduled on Google Play'],
  subscription_extended: ['Subscription extended', 'The store moved the renewal to a later day'],
  promotional_granted: ['Grant made', 'Your team gave free access'],
  promotional_revoked: ['Grant revoked', 'Your team ended free access early'],
  transfer: ['Transfer', 'Purchases moved from one user to another'],
  temporary_entitlement_grant: ['Temporary access', 'Access during an outage of the store'],
  price_increase_consent: ['Price increase consent', 'A new price was announced or accepted'],
  invoice_issued: ['Invoice issued', 'A web purchase was invoiced'],
  purchase_redeemed: ['Purchase redeemed', 'A web purchase was redeemed in the app'],
};

/** Why an event is not on its contact, and what helps. */
const REASON_WORDS: ReadonlyMap<string, string> = new Map([
  ['waiting_for_contact', 'No Intercom contact matches this customer yet'],
  ['switched_off', 'This kind of event is switched off'],
  ['sandbox', 'Sandbox events stay on the timeline'],
  ['timeline_only', 'This kind is shown on the timeline only'],
  ['imported', 'Imported history stands on the timeline only'],
  ['intercom_unauthorized', 'Intercom refuses our access: reinstall the app'],
  ['intercom_scope_missing', 'The app lacks a permission in Intercom: reinstall it'],
  ['intercom_plan_restricted', 'Your Intercom plan does not include this'],
  ['intercom_not_found', 'Intercom does not know the contact'],
  ['intercom_rate_limited', 'Intercom asked us to slow down'],
  ['intercom_rejected', 'Intercom refused the event'],
  ['intercom_attribute_missing', 'A contact attribute is missing in Intercom'],
  ['intercom_event_limit', 'The workspace has reached its limit of 120 event names'],
  ['intercom_unavailable', 'Intercom did not answer'],
]);

/** A reason in words; one without words is shown as it is. */
export function reasonInWords(reason: string | null): string {
  return reason === null ? '' : (REASON_WORDS.get(reason) ?? reason);
}

/** A type of RevenueCat's that has no words of its own, readable: `EXPERIMENT_ENROLLMENT` is "Experiment enrollment". */
export function typeInWords(type: string): string {
  const words = type.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
