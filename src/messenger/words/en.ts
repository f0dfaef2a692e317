import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `in the ${store}` : `on ${store}`;
}

function ended(since: string | null): string {
  return since === null ? 'has ended' : `ended on ${since}`;
}

export const english: MessengerWords = {
  title: 'Your subscription',
  history: 'What happened so far',
  noHistory: 'Nothing has happened yet.',
  labels: {
    price: 'Price',
    since: 'Since',
    renews: 'Renews',
    ends: 'Ends',
    ended: 'Ended',
    resumes: 'Resumes',
    store: 'Bought at',
  },
  web: 'Web',
  test: 'Test purchase',
  subscription: 'Subscription',
  forever: 'Never',
  active: (what, price, next) =>
    `You have ${what}${price ? ` for ${price}` : ''}.${next ? ` It renews on ${next}.` : ''}`,
  trial: (what, ends, price) =>
    `Your free trial of ${what} ${ends ? `runs until ${ends}` : 'is running'}.${price ? ` Then it costs ${price}.` : ''}`,
  trialCancelled: (what, ends) =>
    `Your free trial of ${what} is cancelled${ends ? ` and ends on ${ends}` : ''}. You will not be charged.`,
  cancelled: (what, ends) =>
    `${what} is cancelled.${ends ? ` You can use it until ${ends}.` : ''} You will not be charged again.`,
  lifetime: (what) => `You have ${what} for life. There is nothing more to pay.`,
  bought: (what, ends) => `You have ${what}${ends ? ` until ${ends}` : ''}. It does not renew.`,
  familyShared: (what, ends) => `You have ${what} through family sharing${ends ? ` until ${ends}` : ''}.`,
  temporary: (what, ends) =>
    `You have ${what} for now${ends ? `, until ${ends}` : ''}: the store has not confirmed the purchase yet.`,
  willPause: (what, on, resumes) =>
    `You have ${what}${on ? ` until ${on}` : ''}. Then it is paused${resumes ? ` until ${resumes}` : ''}.`,
  grace: (what, ends, store) =>
    `The last payment for ${what} failed.${ends ? ` You can use it until ${ends}.` : ''} Please check your payment method${store ? ` ${inStore(store)}` : ''}.`,
  expired: (what, since) => `${what} ${ended(since)}.`,
  paymentFailed: (what, since) => `${what} ${ended(since)} because a payment failed.`,
  refunded: (what, on) => `${what} was refunded on ${on}.`,
  granted: (what, ends) => `You have ${what} as a gift from us${ends ? ` until ${ends}` : ', for life'}.`,
  grantEnded: (what, since) => `Our gift of ${what} ${ended(since)}.`,
  paused: (what, resumes) => `${what} is paused.${resumes ? ` It resumes on ${resumes}.` : ''}`,
  none: 'You have no subscription.',
  manage: (store) => `Manage ${inStore(store)}`,
  askUs: 'To change or cancel it, write to us.',
  writeToUs: 'Write to us',
  restart: 'Back to the start',
  older: 'Older',
  refresh: 'Try again',
  signInFirst: 'Sign in to the app to see your subscription here.',
  away: 'Your subscription cannot be shown right now. Please try again in a moment.',
  linkExpired: {
    title: 'This page has expired',
    text: 'Please go back to the app and open it from there again.',
  },
  linkInvalid: {
    title: 'This page cannot be opened',
    text: 'Please go back to the app and open it from there again.',
  },
  sessionEnded: 'This page has expired. Please go back to the app and open it from there again.',
  chatAway: 'The chat could not be loaded. Please check your connection and reload the page.',
  share: {
    added:
      '✅ The customer’s own subscription card was added to your reply. Only they can see their data in it.',
    unverified:
      'This card can only be shared with a customer who is signed in under their app user ID: nobody else can be shown a subscription.',
  },
};
