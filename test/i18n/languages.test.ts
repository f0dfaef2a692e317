import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { chooseLanguage, type Language } from '../../src/i18n/languages.ts';
import { messagesFor } from '../../src/i18n/messages.ts';

describe('dates', () => {
  const atMs = Date.UTC(2019, 0, 8, 13, 5);

  test('are written as the review rules ask, in the given time zone', () => {
    const utc = messagesFor('en');
    assert.equal(utc.date(atMs), 'Jan 8, 2019');
    assert.equal(utc.dateTime(atMs), 'Jan 8, 2019 at 1:05PM');
    assert.equal(utc.dateTime(Date.UTC(2019, 0, 8, 0, 5)), 'Jan 8, 2019 at 12:05AM');
    assert.equal(
      messagesFor('en', 'America/Los_Angeles').dateTime(Date.UTC(2019, 0, 8, 7, 59)),
      'Jan 7, 2019 at 11:59PM',
    );
    assert.equal(messagesFor('en', 'Mars/Olympus').dateTime(atMs), 'Jan 8, 2019 at 1:05PM');
  });

  test('name the month in the language, and the time as it is written there', () => {
    const inBerlin = (language: Language) =>
      messagesFor(language, 'Europe/Berlin').dateTime(Date.UTC(2019, 2, 8, 12, 5));
    assert.equal(inBerlin('en'), 'Mar 8, 2019 at 1:05PM');
    assert.equal(inBerlin('de'), '8. März 2019 um 13:05');
    assert.equal(inBerlin('fr'), '8 mars 2019 à 13:05');
    assert.equal(inBerlin('es'), '8 mar 2019 a las 13:05');
    assert.equal(inBerlin('pt'), '8 de mar. de 2019 às 13:05');
    assert.equal(inBerlin('ja'), '2019年3月8日 13:05');
  });

  test('have one hour in the singular in Spanish and Portuguese', () => {
    const at = (language: Language, hour: number) =>
      messagesFor(language).dateTime(Date.UTC(2019, 2, 8, hour, 5));
    assert.equal(at('es', 1), '8 mar 2019 a la 01:05');
    assert.equal(at('es', 11), '8 mar 2019 a las 11:05');
    assert.equal(at('pt', 1), '8 de mar. de 2019 à 01:05');
    assert.equal(at('pt', 21), '8 de mar. de 2019 às 21:05');
  });

  test('write the first of a month as an ordinal in French and Portuguese only', () => {
    const first = Date.UTC(2026, 11, 1, 12);
    assert.equal(messagesFor('fr').date(first), '1er déc. 2026');
    assert.equal(messagesFor('fr').date(Date.UTC(2026, 11, 11, 12)), '11 déc. 2026');
    assert.equal(messagesFor('pt').date(first), '1º de dez. de 2026');
    assert.equal(messagesFor('pt').date(Date.UTC(2026, 11, 11, 12)), '11 de dez. de 2026');
    assert.equal(messagesFor('es').date(first), '1 dic 2026');
  });
});

test('sums have the hundredths that were paid, also where usage drops them', () => {
  const money = (amountMinor: number) => messagesFor('en').money({ amountMinor, currency: 'HUF' });
  assert.match(money(199_050), /1,990\.50$/);
  assert.match(money(199_000), /1,990$/);
});

test('a list without a word has the comma of the language', () => {
  assert.equal(messagesFor('ja').commaList(['A', 'B']), 'A、B');
  assert.equal(messagesFor('de').commaList(['A', 'B']), 'A, B');
});

test('several missing permissions agree with their verb: a transfer needs three', () => {
  const textIn = (language: Language) =>
    messagesFor(language).t('action.refused.scope_missing', { scopes: 'customers, purchases' });
  assert.match(textIn('de'), /fehlen Berechtigungen: customers, purchases\./);
  assert.match(textIn('es'), /faltan permisos: customers, purchases\./);
  assert.match(textIn('pt'), /^Faltam permissões na chave de API: customers, purchases\./);
});

describe('the language for a teammate', () => {
  for (const [teammate, workspace, expected] of [
    ['de', null, 'de'],
    ['pt-BR', null, 'pt'],
    ['pt_PT', 'fr', 'pt'],
    ['JA', 'fr', 'ja'],
    ['tlh', 'fr', 'fr'],
    ['tlh', null, 'en'],
    [null, 'es', 'es'],
    [null, null, 'en'],
    ['', null, 'en'],
  ] as const) {
    test(`teammate ${teammate}, workspace ${workspace}: ${expected}`, () => {
      assert.equal(chooseLanguage(teammate, workspace), expected);
    });
  }
});
