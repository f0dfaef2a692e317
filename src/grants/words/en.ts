import type { GrantWords } from './types.ts';

export const english: GrantWords = {
  titles: {
    form: 'Grant access',
    extend: 'Extend the grant',
    review: 'Check the grant',
    approval: 'A grant waits for approval',
    grants: 'Grants',
    revoke: 'Remove the grant',
  },
  labels: {
    customer: 'Customer',
    hasNow: 'Has now',
    gets: 'Will get',
    entitlement: 'Entitlement',
    duration: 'Duration',
    exactEnd: 'Or an exact last day',
    reason: 'Reason',
    reasonOptional: 'Reason (not required)',
    grantedBy: 'Granted by',
    askedBy: 'Asked for by',
    approvedBy: 'Approved by',
    declinedBy: 'Declined by',
    removedBy: 'Removed by',
    until: 'Until',
    on: 'On',
    tell: 'For the customer, to copy',
  },
  buttons: {
    review: 'Review',
    confirm: 'Grant now',
    ask: 'Ask for approval',
    change: 'Change',
    again: 'Try again',
    lookAgain: 'Look again',
    addToEnd: 'Add to the current end instead',
    extend: 'Extend',
    revoke: 'Remove this grant',
    revokeNow: 'Remove now',
    keep: 'Keep it',
    approve: 'Approve and grant',
    decline: 'Decline',
    withdraw: 'Withdraw the request',
    grant: 'Grant access',
    grants: 'All grants',
    moreEntitlements: 'More entitlements',
    older: 'Older',
    newer: 'Newer',
    settings: 'Open the settings',
  },
  refusals: {
    switchedOff: 'Granting is switched off for this workspace. An admin can switch it on in the settings.',
    notAllowed: 'You may not grant or remove access. An admin can allow it in the settings.',
    lifetimeNotAllowed: 'Lifetime grants are not allowed here. Choose an end.',
    reasonMissing: 'Please give a reason. It is kept with the grant.',
    chooseEntitlement: 'Please choose what to grant.',
    chooseDuration: 'Please choose a duration.',
    endInvalid: 'The last day must be a date like 2027-01-31, or 2027-01-31 18:00 for a time of that day.',
    endPast: 'The end has passed already. Choose a later one.',
    endTooFar: 'The end is too far away. For access without an end choose Lifetime.',
    unknownCustomer: 'RevenueCat does not know this customer. Nothing was granted.',
    noCustomerId: 'This customer has no ID that RevenueCat accepts. Nothing was granted.',
    unsettled:
      'Another grant or removal of this entitlement is not confirmed yet. Look at the grants before you make another.',
    samePerson: 'You asked for this grant. Another teammate must approve it.',
  },
  failures: {
    entitlementGone: 'RevenueCat has no such entitlement any more. Nothing was granted.',
    keyRejected:
      'RevenueCat refuses the API key. Nothing was changed. An admin must replace the key in the settings.',
    scopeMissing:
      'The API key may not do this. Nothing was changed. It needs customer information, read and write.',
    alreadyHas:
      'RevenueCat says that this customer already has the entitlement. Nothing was changed. To give another end, remove the grant that is running first.',
    slowDown: 'RevenueCat asks to wait a moment. Nothing was changed. Please try again.',
    refused: 'RevenueCat refused this. Nothing was changed.',
    notMade: 'RevenueCat did not do it. Nothing was changed. You can try again.',
    neverConfirmed:
      'RevenueCat could not be asked for a day, so it is not known what became of this. Please look at the customer in RevenueCat.',
    away: 'RevenueCat does not answer. Nothing was changed. You can try again.',
  },
  states: {
    noKey: 'Granting needs a RevenueCat API key. An admin can add one in the settings.',
    keyRejected: 'RevenueCat no longer accepts the API key. Granting needs a new one.',
    noEntitlements: 'RevenueCat has no entitlements in this project, or the key may not read them.',
    noGrants: 'Nothing was granted to this customer from here.',
    gone: 'This grant is not one of this customer.',
    tampered: 'This card is out of date. Please start again.',
    changed: "The customer's access has changed meanwhile. Please check again.",
    stale: 'This was checked some time before. Please check again.',
    pending:
      'Not confirmed yet: RevenueCat has not answered. It settles by itself; the grant will not be made twice.',
    revokePending: 'Not confirmed yet: RevenueCat has not answered. The removal settles by itself.',
    noteFailed: 'The note could not be left in the conversation.',
    nothing: 'no access',
    forever: 'for life',
    stillPays: 'A grant does not stop the paid subscription: the store goes on charging.',
    anonymous:
      'This customer has only an anonymous ID: if the app is installed anew, the grant may not be found again.',
    endRule:
      'The day counts to its last second, in the time zone of the workspace. If you give one, the duration is not used.',
    revokeRule: 'Removing ends everything granted of this entitlement. Paid subscriptions are not touched.',
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
  placeholders: { reason: 'Why? It is kept in the audit log', end: 'YYYY-MM-DD' },
  notAllowedHere: (choice) => `${choice} (not allowed)`,
  needsSecond: (choice) => `${choice} (needs approval)`,
  pageOf: (page, pages) => `Entitlements, page ${page} of ${pages}`,
  tooLong: (days, end) =>
    `The longest grant allowed here is ${days} days: until ${end} at most. Choose an earlier end.`,
  monthlyLimit: (limit, month) =>
    `You may make ${limit} ${limit === 1 ? 'grant' : 'grants'} in a calendar month, and for ${month} you have.`,
  reasonTooLong: (most) => `The reason may have ${most} characters at most.`,
  accessUntil: (entitlement, end) =>
    end === null ? `${entitlement} for life` : `${entitlement} until ${end}`,
  asOf: (date) => `RevenueCat does not answer: what they have is as of ${date}.`,
  extendsFrom: (end) => `The duration is added to the current end, ${end}.`,
  sameGrant: (end) =>
    end === null
      ? 'They already have this for life: nothing would change.'
      : `They already have this until ${end}. RevenueCat ignores a grant that ends within two hours of it: nothing would change.`,
  laterGrant: (end) =>
    end === null
      ? 'They already have this for life: nothing would change.'
      : `They were already granted this until ${end}, which is later: nothing would change.`,
  paidUntilLater: (end) =>
    end === null
      ? 'What they bought gives this for life: the grant would change nothing.'
      : `What they bought already gives this until ${end}, which is later: the grant would change nothing.`,
  secondPerson: (days) => `Grants longer than ${days} days need the approval of another teammate.`,
  granted: (entitlement, end) =>
    end === null ? `✅ ${entitlement} is granted for life.` : `✅ ${entitlement} is granted until ${end}.`,
  kept: (end) => `RevenueCat kept the end that was there before, ${end}. Nothing was changed.`,
  otherEnd: (asked) => `Asked for was ${asked}; this is what RevenueCat gives.`,
  tellCustomer: (entitlement, end) =>
    end === null
      ? `You now have ${entitlement} for life, free of charge. If the app does not show it yet, please close it and open it again.`
      : `You now have ${entitlement} until ${end}, free of charge. If the app does not show it yet, please close it and open it again.`,
  awaiting: (entitlement) => `${entitlement} waits for the approval of another teammate.`,
  awaitingOwn: (entitlement) =>
    `${entitlement} is not granted yet. Another teammate opens Grants on this card and approves it.`,
  declined: (entitlement) => `${entitlement} was not granted: the request was declined.`,
  withdrawn: (entitlement) => `${entitlement} was not granted: the request was withdrawn.`,
  ended: (entitlement, on) => `The grant of ${entitlement} ended on ${on}.`,
  revokeReview: (entitlement, end) =>
    end === null
      ? `Remove **${entitlement}**, granted for life?`
      : `Remove **${entitlement}**, granted until ${end}?`,
  keepsAfter: (entitlement, end) =>
    end === null
      ? `They keep ${entitlement} through what they bought.`
      : `They keep ${entitlement} until ${end} through what they bought.`,
  losesAccess: 'They lose access at once.',
  revoked: (entitlement) => `✅ The grant of ${entitlement} is removed.`,
  lines: {
    until: (end) => `until ${end}`,
    forever: 'for life',
    ended: (on) => `ended on ${on}`,
    revoked: 'removed',
    failed: 'not made',
    pending: 'not confirmed yet',
    awaiting: 'waits for approval',
    declined: 'declined',
    withdrawn: 'withdrawn',
  },
  note: {
    granted: (entitlement, end) =>
      end === null ? `Granted ${entitlement} for life.` : `Granted ${entitlement} until ${end}.`,
    kept: (entitlement, end) =>
      `Asked for a grant of ${entitlement}. RevenueCat kept the end that was there before: ${end}.`,
    notMade: (entitlement) => `The grant of ${entitlement} was not made: RevenueCat did not do it.`,
    asked: (entitlement, end) =>
      end === null
        ? `Asks for approval to grant ${entitlement} for life. Another teammate can decide in the card, under Grants.`
        : `Asks for approval to grant ${entitlement} until ${end}. Another teammate can decide in the card, under Grants.`,
    declined: (entitlement) => `Declined to grant ${entitlement}.`,
    revoked: (entitlement) => `Removed the grant of ${entitlement}.`,
    reason: (reason) => `Reason: ${reason}`,
    people: (asked, approved) => `Asked for by ${asked}, approved by ${approved}.`,
    askedBy: (name) => `Asked for by ${name}.`,
    reference: (reference) => `Grant ${reference}`,
  },
};
