import type { MessengerWords } from '../words.ts';

function inStore(store: string): string {
  return /store$/i.test(store) ? `in the ${store}` : `on ${store}`;
}

function ended(since: string | null): string {
  return since === null ? 'has ended' : `ended on ${since}`;
}

export const english: MessengerWords = {
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
};
