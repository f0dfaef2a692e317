import type { Duration } from '../grants/durations.ts';
import type { Refusal } from '../grants/policy.ts';
import { type EventWords, englishEventWords } from '../subscribers/words.ts';

/** Everything that the card says, in one language. Dates and sums come as text. */
export interface CardWords {
  readonly locale: string;
  readonly events: EventWords;
  readonly and: string;
  readonly labels: Readonly<
    Record<
      | 'product'
      | 'store'
      | 'renews'
      | 'ends'
      | 'ended'
      | 'payingSince'
      | 'paid'
      | 'status'
      | 'price'
      | 'renewals'
      | 'entitlement'
      | 'until'
      | 'reason'
      | 'grantedBy'
      | 'eventId'
      | 'type'
      | 'transaction'
      | 'originalTransaction'
      | 'environment'
      | 'country'
      | 'expires'
      | 'delivery'
      | 'sentAs'
      | 'nextTry'
      | 'appUserId'
      | 'aliases'
      | 'email'
      | 'firstSeen'
      | 'lastSeen'
      | 'platform'
      | 'appVersion'
      | 'lifetimeValue'
      | 'hasNow'
      | 'gets'
      | 'duration'
      | 'started'
      | 'updated',
      string
    >
  >;
  readonly buttons: Readonly<
    Record<
      | 'timeline'
      | 'grant'
      | 'grants'
      | 'details'
      | 'refresh'
      | 'back'
      | 'older'
      | 'newer'
      | 'review'
      | 'confirm'
      | 'revoke'
      | 'search'
      | 'link'
      | 'unlink'
      | 'manage'
      | 'openRevenueCat'
      | 'settings'
      | 'install'
      | 'reconnect',
      string
    >
  >;
  readonly titles: Readonly<
    Record<
      | 'timeline'
      | 'grant'
      | 'review'
      | 'grants'
      | 'details'
      | 'subscriptions'
      | 'match'
      | 'revoke'
      | 'attributes',
      string
    >
  >;
  readonly durations: Readonly<Record<Duration, string>>;
  readonly statuses: Readonly<Record<string, string>>;
  readonly states: Readonly<
    Record<
      | 'notInstalled'
      | 'notConnected'
      | 'keyRejected'
      | 'noKey'
      | 'noMatch'
      | 'noPurchases'
      | 'purchasesOnly'
      | 'sandboxOnly'
      | 'several'
      | 'possibleMatch'
      | 'nothingFound'
      | 'slow'
      | 'tampered'
      | 'noEntitlements'
      | 'noGrants'
      | 'unknownCustomer'
      | 'gone'
      | 'emptySearch',
      string
    >
  >;
  refusal(refusal: Refusal): string;
  failure(code: string): string;
  price(sum: string, period: 'week' | 'month' | 'year' | null): string;
  active(what: string, price: string | null, next: string | null): string;
  trial(what: string, ends: string | null, price: string | null): string;
  trialCancelled(what: string, ends: string | null): string;
  cancelled(what: string, cancelledOn: string | null, ends: string | null): string;
  lifetime(what: string): string;
  grace(what: string, failed: string, ends: string | null, store: string): string;
  expired(since: string | null, reason: string | null, what: string, price: string | null): string;
  refunded(sum: string | null, on: string): string;
  granted(what: string, by: string | null, ends: string | null): string;
  paused(since: string | null, resumes: string | null, price: string | null): string;
  several(parts: readonly string[], sum: string | null, next: string | null): string;
  pendingChange(product: string): string;
  readonly expiryReasons: Readonly<Record<string, string>>;
  delivery(state: string, reason: string | null): string;
  staleSince(date: string): string;
  readonly never: string;
  readonly forever: string;
  readonly nothing: string;
  grantReview(entitlement: string, end: string): string;
  readonly stillPays: string;
  sameGrant(end: string): string;
  paidUntilLater(end: string): string;
  grantDone(entitlement: string, end: string): string;
  grantEndsEarlier(end: string): string;
  readonly grantPending: string;
  tellCustomer(entitlement: string, end: string): string;
  revokeReview(entitlement: string, end: string): string;
  revokeDone(entitlement: string): string;
  linked(appUserId: string): string;
  readonly unlinked: string;
  readonly searchLabel: string;
  readonly searchPlaceholder: string;
  readonly reasonPlaceholder: string;
  appleNote: string;
}

const REFUND_HINTS: Readonly<Record<string, string>> = {
  UNSUBSCRIBE: 'cancelled',
  BILLING_ERROR: 'payment failed',
  DEVELOPER_INITIATED: "ended by the app's team",
  PRICE_INCREASE: 'price increase not agreed to',
  CUSTOMER_SUPPORT: 'refunded',
  SUBSCRIPTION_PAUSED: 'paused',
};

export const english: CardWords = {
  locale: 'en-US',
  events: englishEventWords,
  and: 'and',
  labels: {
    product: 'Product',
    store: 'Store',
    renews: 'Renews',
    ends: 'Ends',
    ended: 'Ended',
    payingSince: 'Customer since',
    paid: 'Paid so far',
    status: 'Status',
    price: 'Price',
    renewals: 'Renewals',
    entitlement: 'Entitlement',
    until: 'Until',
    reason: 'Reason',
    grantedBy: 'Granted by',
    eventId: 'Event id',
    type: 'Type',
    transaction: 'Transaction',
    originalTransaction: 'Original transaction',
    environment: 'Environment',
    country: 'Country',
    expires: 'Period ends',
    delivery: 'In Intercom',
    sentAs: 'Sent as',
    nextTry: 'Next try',
    appUserId: 'App user id',
    aliases: 'Other ids',
    email: 'E-mail',
    firstSeen: 'First seen',
    lastSeen: 'Last seen',
    platform: 'Platform',
    appVersion: 'App version',
    lifetimeValue: 'Lifetime value',
    hasNow: 'Has now',
    gets: 'Will get',
    duration: 'Duration',
    started: 'Started',
    updated: 'Updated',
  },
  buttons: {
    timeline: 'Whole timeline',
    grant: 'Grant access',
    grants: 'Grants',
    details: 'Details',
    refresh: 'Refresh',
    back: 'Back',
    older: 'Older',
    newer: 'Newer',
    review: 'Review',
    confirm: 'Grant now',
    revoke: 'Remove this grant',
    search: 'Search',
    link: 'Yes, this is them',
    unlink: 'Remove the link to this customer',
    manage: 'Subscription at the store',
    openRevenueCat: 'Open in RevenueCat',
    settings: 'Open the settings',
    install: 'How to install',
    reconnect: 'Reconnect RevenueCat',
  },
  titles: {
    timeline: 'Timeline',
    grant: 'Grant access',
    review: 'Check the grant',
    grants: 'Grants',
    details: 'Customer',
    subscriptions: 'Subscriptions',
    match: 'Find the customer',
    revoke: 'Remove the grant',
    attributes: 'Attributes',
  },
  durations: {
    daily: '1 day',
    three_day: '3 days',
    weekly: '1 week',
    two_week: '2 weeks',
    monthly: '1 month',
    two_month: '2 months',
    three_month: '3 months',
    six_month: '6 months',
    yearly: '1 year',
    lifetime: 'Lifetime',
  },
  statuses: {
    active: 'Active',
    intro: 'Introductory price',
    cancelled: 'Cancelled',
    grace_period: 'Payment failed, still has access',
    trial: 'Free trial',
    cancelled_trial: 'Free trial, cancelled',
    grace_period_trial: 'Payment failed, still has access',
    expired: 'Ended',
    promotional: 'Granted',
    expired_promotional: 'Grant ended',
    paused: 'Paused',
  },
  states: {
    notInstalled:
      'Subscription Timeline is not installed in this workspace. An admin can install it in a minute.',
    notConnected: 'RevenueCat is not connected yet. An admin can connect it in the settings.',
    keyRejected:
      'RevenueCat no longer accepts the API key. What you see comes from events; granting needs a new key.',
    noKey: 'Granting needs a RevenueCat API key. An admin can add one in the settings.',
    noMatch:
      'No RevenueCat customer is known for this contact. Search by app user id, e-mail or transaction id.',
    noPurchases: 'This customer has not bought anything.',
    purchasesOnly: 'No subscription. Made one-time purchases.',
    sandboxOnly: 'Only test purchases (sandbox). This customer has not paid for anything.',
    several: 'Several customers match. Choose the right one:',
    possibleMatch: 'Possible match by e-mail. An e-mail alone proves nothing: is this the same person?',
    nothingFound: 'Nobody found. Check the id, or search by something else.',
    slow: 'This is taking longer than usual. Nothing was lost.',
    tampered: 'This card is out of date. Please start again.',
    noEntitlements: 'RevenueCat has no entitlements in this project, or the key may not read them.',
    noGrants: 'Nothing was granted to this customer from here.',
    unknownCustomer: 'RevenueCat does not know this customer (any more). Nothing was granted.',
    gone: 'This is no longer there.',
    emptySearch: 'Enter an app user id, an e-mail or a transaction id.',
  },
  refusal(refusal) {
    switch (refusal.code) {
      case 'switched_off':
        return 'Granting is switched off for this workspace.';
      case 'not_allowed':
        return 'You may not grant access. An admin can allow it in the settings.';
      case 'lifetime_not_allowed':
        return 'Lifetime grants are not allowed here. Choose a shorter duration.';
      case 'too_long':
        return `The longest grant allowed here is ${refusal.longestDays} days. Choose a shorter duration.`;
      case 'reason_missing':
        return 'Please give a reason.';
      case 'monthly_limit':
        return `You have made your ${refusal.limit} grants of this month.`;
    }
  },
  failure(code) {
    switch (code) {
      case 'revenuecat_not_found':
        return english.states.unknownCustomer;
      case 'revenuecat_unauthorized':
        return 'RevenueCat refused the API key. Nothing was changed. An admin must replace the key in the settings.';
      case 'revenuecat_scope_missing':
        return 'The API key may not do this. Nothing was changed. It needs customer information, read and write.';
      case 'revenuecat_conflict':
        return 'RevenueCat says that this customer already has the entitlement. Nothing was changed.';
      case 'revenuecat_rate_limited':
        return 'RevenueCat asks to wait a moment. Nothing was changed. Please try again.';
      case 'revenuecat_rejected':
        return 'RevenueCat refused this. Nothing was changed.';
      default:
        return 'RevenueCat did not answer. Nothing is confirmed; please look again in a minute.';
    }
  },
  price: (sum, period) => (period === null ? sum : `${sum} a ${period}`),
  active: (what, price, next) => `${what}${price ? `, ${price}` : ''}.${next ? ` Next charge ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `${what}, free trial${ends ? ` until ${ends}` : ''}.${price ? ` Then ${price}.` : ' Then it renews and charges.'}`,
  trialCancelled: (what, ends) =>
    `${what}, free trial, cancelled.${ends ? ` Access until ${ends}.` : ''} Will not be charged.`,
  cancelled: (what, on, ends) =>
    `${what}, cancelled${on ? ` on ${on}` : ''}.${ends ? ` Access until ${ends}.` : ''} No further charge.`,
  lifetime: (what) => `${what}, for life. No further charge.`,
  grace: (what, failed, ends, store) =>
    `Payment failed on ${failed}. Still has ${what}${ends ? ` until ${ends}` : ''} while ${store} tries the card again.`,
  expired: (since, reason, what, price) =>
    `No access${since ? ` since ${since}` : ''}${reason ? `: ${reason}` : ''}. Had ${what}${price ? `, ${price}` : ''}.`,
  refunded: (sum, on) => `Refunded${sum ? ` ${sum}` : ''} on ${on}. No access since then.`,
  granted: (what, by, ends) =>
    `${what}, granted${by ? ` by ${by}` : ''}${ends ? ` until ${ends}` : ' for life'}. Not paying.`,
  paused: (since, resumes, price) =>
    `Paused${since ? ` since ${since}` : ''}.${resumes ? ` Resumes${price ? ` and charges ${price}` : ''} on ${resumes}.` : ''}`,
  several: (parts, sum, next) =>
    `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}.${next ? ` Next charge${sum ? ` ${sum}` : ''} on ${next}.` : ''}`,
  pendingChange: (product) => `Changes to ${product} at the next renewal.`,
  expiryReasons: REFUND_HINTS,
  delivery(state, reason) {
    if (state === 'delivered') return 'Recorded on the contact';
    if (state === 'failed') return `Failed: ${reason ?? 'unknown reason'}`;
    if (state === 'skipped') {
      if (reason === 'switched_off') return 'Not sent: switched off in the settings';
      if (reason === 'sandbox') return 'Not sent: sandbox';
      return 'Shown here only';
    }
    if (reason === 'waiting_for_contact') return 'Waits for a contact';
    return reason ? `Will be tried again (${reason})` : 'About to be sent';
  },
  staleSince: (date) => `RevenueCat cannot be reached. This is as of ${date}.`,
  never: 'never',
  forever: 'for life',
  nothing: 'no access',
  grantReview: (entitlement, end) => `**${entitlement}** until **${end}**`,
  stillPays: 'A grant does not stop the paid subscription: the store goes on charging.',
  sameGrant: (end) =>
    `They already have this until ${end}. RevenueCat ignores a grant that ends within two hours of it: nothing would change.`,
  paidUntilLater: (end) =>
    `A subscription already gives this until ${end}, which is later. The grant would change nothing before.`,
  grantDone: (entitlement, end) => `✅ ${entitlement} is granted until ${end}.`,
  grantEndsEarlier: (end) => `RevenueCat kept the end that was there before: ${end}.`,
  grantPending:
    'Not confirmed yet: RevenueCat did not answer in time. It settles by itself; the grant will not be made twice.',
  tellCustomer: (entitlement, end) =>
    `To tell the customer: “You now have ${entitlement} until ${end}. If the app does not show it yet, please close and open it again.”`,
  revokeReview: (entitlement, end) =>
    `Remove **${entitlement}**, granted until ${end}? Paid subscriptions are not touched.`,
  revokeDone: (entitlement) => `✅ The grant of ${entitlement} is removed.`,
  linked: (appUserId) => `✅ Linked to ${appUserId}.`,
  unlinked: '✅ The link is removed.',
  searchLabel: 'App user id, e-mail or transaction id',
  searchPlaceholder: 'user_123',
  reasonPlaceholder: 'Why? This is kept in the audit log',
  appleNote: 'Apple refunds only itself: the customer asks at reportaproblem.apple.com.',
};
