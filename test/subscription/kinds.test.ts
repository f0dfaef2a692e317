import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { defaultEventName, type EventKind } from '../../src/subscription/kinds.ts';
import { event } from './histories.ts';

const promotional = { store: 'PROMOTIONAL', period_type: 'PROMOTIONAL' };
const trial = { period_type: 'TRIAL' };

const CASES: readonly [string, Record<string, unknown>, EventKind][] = [
  ['INITIAL_PURCHASE', {}, 'initial_purchase'],
  ['INITIAL_PURCHASE', { period_type: 'INTRO' }, 'initial_purchase'],
  ['INITIAL_PURCHASE', trial, 'trial_started'],
  ['initial_purchase', { period_type: 'trial' }, 'trial_started'],
  ['RENEWAL', {}, 'renewal'],
  ['RENEWAL', { is_trial_conversion: true }, 'trial_converted'],
  ['CANCELLATION', { cancel_reason: 'UNSUBSCRIBE' }, 'cancellation'],
  ['CANCELLATION', { cancel_reason: 'DEVELOPER_INITIATED' }, 'cancellation'],
  ['CANCELLATION', trial, 'trial_cancelled'],
  ['CANCELLATION', { ...trial, cancel_reason: 'CUSTOMER_SUPPORT' }, 'refund'],
  ['CANCELLATION', { cancel_reason: 'CUSTOMER_SUPPORT' }, 'refund'],
  ['CANCELLATION', { ...promotional, cancel_reason: 'DEVELOPER_INITIATED' }, 'promotional_revoked'],
  ['NON_RENEWING_PURCHASE', {}, 'non_subscription_purchase'],
  ['NON_RENEWING_PURCHASE', promotional, 'promotional_granted'],
  ['EXPIRATION', {}, 'expiration'],
  ['EXPIRATION', promotional, 'expiration'],
  ['BILLING_ISSUE', {}, 'billing_issue'],
  ['PRODUCT_CHANGE', {}, 'product_change'],
  ['REFUND_REVERSED', {}, 'refund_reversed'],
  ['UNCANCELLATION', {}, 'uncancellation'],
  ['SUBSCRIPTION_PAUSED', {}, 'subscription_paused'],
  ['SUBSCRIPTION_EXTENDED', {}, 'subscription_extended'],
  ['TRANSFER', {}, 'transfer'],
  ['TEMPORARY_ENTITLEMENT_GRANT', {}, 'temporary_entitlement_grant'],
  ['PRICE_INCREASE_CONSENT_REQUIRED', {}, 'price_increase_consent'],
  ['PRICE_INCREASE_CONSENT_APPROVED', {}, 'price_increase_consent'],
  ['INVOICE_ISSUANCE', {}, 'invoice_issued'],
  ['PURCHASE_REDEEMED', {}, 'purchase_redeemed'],
  ['EXPERIMENT_ENROLLMENT', {}, 'experiment_enrollment'],
  ['VIRTUAL_CURRENCY_TRANSACTION', {}, 'virtual_currency'],
  ['PAYWALL_IMPRESSION', {}, 'paywall'],
  ['PAYWALL_SOMETHING_NEW', {}, 'paywall'],
  ['SUBSCRIBER_ALIAS', {}, 'subscriber_alias'],
  ['TEST', {}, 'test'],
  ['SOMETHING_NEW', {}, 'unknown'],
  ['toString', {}, 'unknown'],
  ['CONSTRUCTOR', {}, 'unknown'],
];

describe('what an event means', () => {
  for (const [type, fields, kind] of CASES) {
    test(`${type} ${JSON.stringify(fields)} is ${kind}`, () =>
      assert.equal(event(type, 0, fields).kind, kind));
  }
});

test("the ten default names are those of RevenueCat's own integration", () => {
  assert.equal(defaultEventName('trial_started'), 'rc_trial_started_event');
  assert.equal(defaultEventName('non_subscription_purchase'), 'rc_non_subscription_purchase_event');
});
