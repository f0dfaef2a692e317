import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LANGUAGES, type Language } from '../../src/i18n/languages.ts';
import { type Messages, messagesFor } from '../../src/i18n/messages.ts';
import {
  customerText,
  endLine,
  overviewText,
  paidText,
  periodText,
  priceText,
  statementsText,
  statusText,
} from '../../src/i18n/sentences.ts';
import { type CustomerDescription, describeCustomer } from '../../src/subscription/describe-customer.ts';
import type { End, Statement } from '../../src/subscription/describe-subscription.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { SUBSCRIPTION_STATUSES } from '../../src/subscription/types.ts';
import { CASES } from '../subscription/cases.ts';
import {
  apiSubscription,
  buy,
  day,
  event,
  grant,
  period,
  renew,
  snapshotOf,
} from '../subscription/histories.ts';

const NAMES = { product: () => null, entitlement: () => null };
const usd = (amountMinor: number) => ({ amountMinor, currency: 'USD' });
const eur = (amountMinor: number) => ({ amountMinor, currency: 'EUR' });
const DECEMBER_1 = Date.UTC(2026, 11, 1, 12);

const agentSentence = (m: Messages, statement: Statement): string => statementsText(m, 'agent', [statement]);

test('the grammar of each language', () => {
  const agent = (language: Language, statement: Statement) =>
    agentSentence(messagesFor(language), statement).replaceAll('\u00a0', ' ').replaceAll('\u202f', ' ');
  const several = {
    kind: 'several',
    items: [],
    more: 0,
    next: DECEMBER_1,
    sum: eur(999),
    charges: 'again',
  } as const;
  assert.match(agent('fr', several), /Prochain débit de 9,99 € le 1er déc\. 2026\.$/);
  const ended = { kind: 'expired', what: 'Pro', since: DECEMBER_1, price: null } as const;
  assert.equal(
    agent('fr', { ...ended, reason: 'DEVELOPER_INITIATED' }),
    'Aucun accès depuis le 1er déc. 2026 : résilié par l’équipe de l’app. Avait Pro.',
  );
  const refunded = { kind: 'refunded', what: 'Pro', on: DECEMBER_1, since: null } as const;
  assert.equal(
    agent('fr', { ...refunded, sum: eur(100) }),
    '1,00 € remboursé le 1er déc. 2026. Aucun accès depuis.',
  );
  assert.match(agent('fr', { ...refunded, sum: eur(199) }), /^1,99 € remboursé /);
  assert.match(agent('fr', { ...refunded, sum: eur(200) }), /^2,00 € remboursés /);
  assert.match(agent('fr', { ...refunded, sum: null }), /^Remboursé le /);
  const trial = { kind: 'trial', what: 'Pro', until: DECEMBER_1, price: null } as const;
  assert.match(agent('de', trial), /Danach verlängert es sich kostenpflichtig\.$/);
  assert.match(agent('fr', trial), /jusqu’au 1er déc\. 2026/);
  const grace = { kind: 'grace', what: 'Pro', on: DECEMBER_1, until: DECEMBER_1 } as const;
  assert.match(agent('pt', { ...grace, store: 'APP_STORE' }), /enquanto a Apple tenta de novo\.$/);
  assert.match(agent('pt', { ...grace, store: 'PLAY_STORE' }), /enquanto o Google tenta de novo\.$/);
  assert.match(agent('pt', { ...grace, store: null }), /enquanto a loja tenta de novo\.$/);
  assert.match(agent('en', { ...grace, store: 'MOON_STORE' }), /while Moon Store retries the card\.$/);
  assert.match(agent('de', { ...ended, reason: null }), /^Kein Zugriff seit dem 1\. Dez\. 2026\./);
  // "アプリの運営が終了" would say that the app itself has closed.
  assert.equal(
    agent('ja', { ...ended, reason: 'DEVELOPER_INITIATED' }),
    '2026年12月1日からアクセスなし（アプリの運営元が解約）。以前はPro。',
  );
  // In a list, the product is what ends; the customer is who does not agree.
  const consent = { kind: 'priceConsent', what: 'Pro', price: null, until: null } as const;
  const listed = { ...several, items: [{ what: 'Pro', period: null, store: null, note: consent }] };
  assert.match(agent('es', listed), /termina si el cliente no acepta la subida de precio/);
  assert.match(agent('pt', listed), /termina se o cliente não aceitar o aumento de preço/);
  // Before a vowel "de" would have to be "d’".
  const failed = { kind: 'paymentFailed', what: 'Alpha', on: DECEMBER_1, since: null } as const;
  assert.equal(agent('fr', failed), 'Le paiement pour Alpha a échoué le 1er déc. 2026.');
  const limit = { kind: 'refund', max: 1249.5, days: 0 };
  assert.match(messagesFor('de').t('action.form.secondPerson', limit), /^Erstattungen über 1\.249,5 in /);
  // "Celui-ci" would be the contact that was named last, which loses the events.
  const moved = messagesFor('fr').t('match.state.linkExplained', { elsewhere: 'other' });
  assert.match(moved, /ses événements iront à ce contact et non plus à l’autre\.$/);
});

test('what customers read does not depend on the gender of a name, nor takes the payment for it', () => {
  const french = (statement: Statement) =>
    statementsText(messagesFor('fr'), 'customer', [statement]).replaceAll(/[\u00a0\u202f]/g, ' ');
  const what = 'Formule Or';
  const active = { kind: 'active', what, price: null, next: DECEMBER_1 } as const;
  assert.equal(french(active), 'Vous avez Formule Or. Renouvellement le 1er déc. 2026.');
  const trialCancelled = { kind: 'trialCancelled', what, until: null, charges: 'never' } as const;
  assert.match(french(trialCancelled), /\. Rien ne vous sera facturé pour Formule Or\.$/);
  const grace = { kind: 'grace', what, on: null, until: DECEMBER_1, store: null } as const;
  assert.match(french(grace), / a échoué\. Vous pouvez utiliser Formule Or jusqu’au 1er déc\. 2026\. /);
  // Possibly only a part of the payment was refunded.
  const refunded = { kind: 'refunded', what, on: DECEMBER_1, sum: null } as const;
  assert.equal(
    french({ ...refunded, since: Date.UTC(2026, 11, 16, 12) }),
    'Vous avez reçu un remboursement pour Formule Or le 1er déc. 2026. L’accès a pris fin le 16 déc. 2026.',
  );
});

test('a label and what follows it, also where nothing ends', () => {
  const lines = (end: End) => LANGUAGES.map((language) => endLine(messagesFor(language), end));
  assert.deepEqual(lines({ label: 'ends', atMs: null }), [
    'Ends: never',
    'Endet: nie',
    'Fin\u00a0: jamais',
    'Termina: nunca',
    'Término: nunca',
    '終了予定日：なし',
  ]);
  assert.deepEqual(lines({ label: 'resumes', atMs: DECEMBER_1 }), [
    'Resumes: Dec 1, 2026',
    'Wird fortgesetzt: 1. Dez. 2026',
    'Reprise\u00a0: 1er déc. 2026',
    'Se reanuda: 1 dic 2026',
    'Retomada: 1º de dez. de 2026',
    '再開日：2026年12月1日',
  ]);
});

test('sums in several currencies are not joined by the comma of their decimals', () => {
  const yen = { currency: 'JPY', price_in_purchased_currency: 1500, price: 10 };
  const euros = { currency: 'EUR', price_in_purchased_currency: 9.99, price: 10 };
  const state = deriveState([buy(0, 30, yen), renew(30, 60, euros)], null, day(31));
  const description = describeCustomer(state, { names: NAMES, nowMs: day(31) });
  const paid = (language: Language) =>
    paidText(messagesFor(language), description)?.replaceAll('\u00a0', ' ');
  assert.equal(paid('de'), '9,99 € und 1.500 ¥ seit dem 1. Jan. 2026');
  assert.equal(paid('en'), '€9.99 and ¥1,500 since Jan 1, 2026');
});

test('what a subscription without a name is called', () => {
  const textOf = (language: Language, statement: Statement) =>
    statementsText(messagesFor(language), 'customer', [statement]);
  const temporary = { kind: 'temporary', what: '', until: null } as const;
  const ended = { kind: 'expired', what: '', since: DECEMBER_1, reason: null, price: null } as const;
  assert.deepEqual(
    LANGUAGES.map((language) => [textOf(language, temporary).split(':')[0], textOf(language, ended)]),
    [
      ['You have your subscription for now', 'Your subscription ended on Dec 1, 2026.'],
      ['Sie haben Ihr Abonnement vorläufig', 'Ihr Abonnement ist am 1. Dez. 2026 abgelaufen.'],
      ['Vous avez votre abonnement provisoirement\u00a0', 'Votre abonnement a pris fin le 1er déc. 2026.'],
      ['Tienes tu plan por ahora', 'Tu plan terminó el 1 dic 2026.'],
      ['Você tem seu plano por enquanto', 'Seu plano terminou em 1º de dez. de 2026.'],
      [
        'ストアが購入を確認中のため、サブスクリプションを一時的にご利用いただけます。',
        'サブスクリプションは2026年12月1日に終了しました。',
      ],
    ],
  );
  // "Tu prueba gratuita de tu plan" would say "your" twice.
  const trialEnded = { ...ended, kind: 'trialEnded' } as const;
  assert.equal(textOf('es', trialEnded), 'La prueba gratuita de tu plan terminó el 1 dic 2026.');
  assert.equal(textOf('pt', trialEnded), 'O teste grátis de seu plano terminou em 1º de dez. de 2026.');
  assert.match(textOf('en', { ...ended, what: 'iPro' }), /^iPro ended/);
  const toAgent = (language: Language, statement: Statement) =>
    agentSentence(messagesFor(language), statement);
  assert.match(toAgent('en', trialEnded), /\. Had access on a free trial\.$/);
  assert.match(toAgent('de', trialEnded), /\. Hatte Zugriff in einer kostenlosen Testphase\.$/);
  assert.match(toAgent('fr', trialEnded), /\. Avait accès en essai gratuit\.$/);
  const granted = { kind: 'grantEnded', what: '', since: DECEMBER_1, paid: 'ever' } as const;
  assert.match(toAgent('en', granted), /\. Access had been granted\.$/);
  assert.match(textOf('en', { ...ended, reason: 'BILLING_ERROR' }), /because a payment failed\.$/);
  assert.equal(agentSentence(messagesFor('en'), ended), 'No access since Dec 1, 2026.');
});

test('a cancellation says nothing about what else the customer pays for', () => {
  const m = messagesFor('en');
  const other = {
    product_id: 'team',
    entitlement_ids: ['team'],
    transaction_id: 's1',
    original_transaction_id: 's1',
  };
  const off = event('CANCELLATION', 1, { ...period(0, 30), cancel_reason: 'UNSUBSCRIBE' });
  const state = deriveState([buy(0, 30), off, buy(0, 60, other)], null, day(2));
  assert.match(
    customerText(m, [describeCustomer(state, { names: NAMES, nowMs: day(2) })]),
    /Pro is cancelled\. You can use it until Jan 31, 2026\. You will not be charged for it again\.$/,
  );
});

test('several subscriptions are joined with one word, in every language', () => {
  const item = { what: 'P', period: null, store: null, note: null };
  const joined = LANGUAGES.map((language) =>
    agentSentence(messagesFor(language), {
      kind: 'several',
      items: [item, item, item],
      more: 2,
      next: null,
      sum: null,
      charges: 'never',
    }),
  );
  assert.deepEqual(joined, [
    'P, P, P and 2 more. No further charge.',
    'P, P, P und 2 weitere. Keine weitere Abbuchung.',
    'P, P, P et 2 de plus. Plus aucun débit.',
    'P, P, P y 2 más. Sin más cobros.',
    'P, P, P e mais 2. Sem mais cobranças.',
    'P、P、P、ほか2件。今後の請求はありません。',
  ]);
  const note = { kind: 'paused', what: 'P', since: null, resumes: DECEMBER_1, sum: null } as const;
  const paused = {
    kind: 'several',
    items: [{ ...item, note }],
    more: 0,
    next: null,
    sum: null,
    charges: 'never',
  } as const;
  assert.match(agentSentence(messagesFor('en'), paused), /Dec 1, 2026/);
});

test('the label of an incomplete subscription says whether it starts later', () => {
  const incomplete = { status: 'incomplete', givesAccess: false, periodStartsAtMs: day(10) };
  const state = deriveState([], snapshotOf(1, [apiSubscription(incomplete)]), day(2));
  const labelOn = (on: number): string => {
    const [subscription] = describeCustomer(state, { names: NAMES, nowMs: day(on) }).subscriptions;
    assert.ok(subscription);
    return statusText(messagesFor('en'), subscription.label);
  };
  assert.deepEqual([labelOn(2), labelOn(10)], ['Starts later', 'First payment pending']);
});

test('Japanese sentences follow each other without a space', () => {
  const events = [buy(0, 30), event('PRODUCT_CHANGE', 1, { ...period(0, 30), new_product_id: 'pro_yearly' })];
  const description = describeCustomer(deriveState(events, null, day(2)), { names: NAMES, nowMs: day(2) });
  assert.match(overviewText(messagesFor('ja'), description), /。次回請求 2026年1月31日。次回更新時に/);
});

describe('every sentence is complete', () => {
  for (const language of LANGUAGES) {
    test(language, () => {
      const m = messagesFor(language);
      for (const { name, events, snapshot = null, on } of CASES) {
        const description = describeCustomer(deriveState(events, snapshot, day(on)), {
          names: NAMES,
          nowMs: day(on),
        });
        for (const text of [overviewText(m, description), customerText(m, [description])]) {
          assert.match(text, /[.。]$/, `${name}: ${text}`);
          assert.doesNotMatch(text, /null|undefined| {2}|\.\.|,\s*\.| \.|[{}]/, `${name}: ${text}`);
          assert.doesNotMatch(text, /\b(ago|tomorrow|yesterday)\b/);
          if (language === 'ja') assert.doesNotMatch(text, /。 /, text);
        }
      }
    });
  }

  test('each language in its own words', () => {
    for (const { name, events, snapshot = null, on } of CASES) {
      const description = describeCustomer(deriveState(events, snapshot, day(on)), {
        names: NAMES,
        nowMs: day(on),
      });
      for (const text of [
        overviewText,
        (m: Messages, each: CustomerDescription) => customerText(m, [each]),
      ]) {
        const texts = new Set(LANGUAGES.map((language) => text(messagesFor(language), description)));
        assert.equal(texts.size, LANGUAGES.length, name);
      }
    }
  });

  test('periods and statuses differ', () => {
    for (const language of LANGUAGES) {
      const m = messagesFor(language);
      const periods = (['week', 'month', 'year'] as const).flatMap((unit) =>
        [1, 3].map((count) => [
          priceText(m, { money: usd(900), period: { unit, count } }),
          periodText(m, { unit, count }),
        ]),
      );
      assert.equal(new Set(periods.map((each) => each.join())).size, 6);
      assert.equal(priceText(m, { money: usd(900), period: null }), m.money(usd(900)));
      for (const status of SUBSCRIPTION_STATUSES) assert.ok(statusText(m, status).length > 0);
    }
  });
});

test('an agent who made a grant is named', () => {
  const m = messagesFor('en');
  const statement = { kind: 'granted', what: '', by: 'Ada', until: null } as const;
  assert.equal(agentSentence(m, statement), 'Access, granted by Ada for life. Not paying.');
});

test('nothing is left to pay for a purchase for life only where nothing else renews', () => {
  const life = event('NON_RENEWING_PURCHASE', 0, {
    ...period(0, null, 99),
    product_id: 'lifetime',
    original_transaction_id: 'life',
  });
  const says = (...events: LifecycleEvent[]) => {
    const state = deriveState(events, null, day(2));
    return customerText(messagesFor('en'), [describeCustomer(state, { names: NAMES, nowMs: day(2) })]);
  };
  assert.equal(says(life), 'You have Pro for life. There is nothing more to pay.');
  assert.equal(
    says(life, buy(0, 30)),
    'You have Pro for $10.00 a month. It renews on Jan 31, 2026. You have Pro for life.',
  );
});

test('the customer hears of grants too, and of no test purchase', () => {
  const m = messagesFor('en');
  const described = (...events: LifecycleEvent[]) =>
    describeCustomer(deriveState(events, null, day(2)), { names: NAMES, nowMs: day(2) });
  const paid = described(buy(0, 30), grant(0, 60, { entitlement_ids: ['max'] }));
  const sandbox = described(buy(0, 30, { environment: 'SANDBOX' }));
  assert.equal(
    customerText(m, [paid, sandbox]),
    'You have Pro for $10.00 a month. It renews on Jan 31, 2026. You have Max as a gift from us until Mar 2, 2026.',
  );
  assert.equal(customerText(m, [sandbox]), 'We found no subscription for you.');
  assert.equal(customerText(m, []), 'We found no subscription for you.');
});
