import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { datesIn } from '../../src/inbox-card/dates.ts';
import { chooseLanguage, LANGUAGES, type LOCALES } from '../../src/inbox-card/language.ts';
import { readCardRequest } from '../../src/inbox-card/request.ts';
import { wordsFor } from '../../src/inbox-card/words/catalogue.ts';

describe('dates', () => {
  const atMs = Date.UTC(2019, 0, 8, 13, 5);

  test('keep the style of the one who asks, whoever asked before for the same place', () => {
    const german = wordsFor('de');
    const atMs = Date.UTC(2019, 0, 8, 12, 5);
    assert.equal(datesIn(german.locale, 'Europe/Vienna').dateTime(atMs), '8. Jan. 2019 at 1:05PM');
    assert.equal(datesIn(german.locale, 'Europe/Vienna', german).dateTime(atMs), '8. Jan. 2019 um 13:05');
  });

  test('are written as the review rules ask, in the zone given', () => {
    const utc = datesIn('en-US', 'UTC');
    assert.equal(utc.date(atMs), 'Jan 8, 2019');
    assert.equal(utc.dateTime(atMs), 'Jan 8, 2019 at 1:05PM');
    assert.equal(utc.dateTime(Date.UTC(2019, 0, 8, 0, 5)), 'Jan 8, 2019 at 12:05AM');
    assert.equal(
      datesIn('en-US', 'America/Los_Angeles').dateTime(Date.UTC(2019, 0, 8, 7, 59)),
      'Jan 7, 2019 at 11:59PM',
    );
    assert.equal(datesIn('en-US', 'Mars/Olympus').dateTime(atMs), 'Jan 8, 2019 at 1:05PM');
  });

  test('name the month in the language, and the time as it is written there', () => {
    const inLanguage = (language: keyof typeof LOCALES) => {
      const words = wordsFor(language);
      return datesIn(words.locale, 'Europe/Berlin', words).dateTime(Date.UTC(2019, 2, 8, 12, 5));
    };
    assert.equal(inLanguage('en'), 'Mar 8, 2019 at 1:05PM');
    assert.equal(inLanguage('de'), '8. März 2019 um 13:05');
    assert.equal(inLanguage('fr'), '8 mars 2019 à 13:05');
    assert.equal(inLanguage('es'), '8 mar 2019 a las 13:05');
    assert.equal(inLanguage('pt'), '8 de mar. de 2019 às 13:05');
    assert.equal(inLanguage('ja'), '2019年3月8日 13:05');
  });
});

describe('the language', () => {
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

  test('what the request says of the contact, the conversation or the context is not the teammate’s', () => {
    const request = readCardRequest({
      workspace_id: 'w',
      admin: { id: 1, name: 'Ada' },
      contact: { id: 'c', language_override: 'fr', browser_language: 'fr' },
      conversation: { id: '1', language: 'es' },
      context: { locale: 'de' },
    });
    assert.equal(request?.adminLocale, null);
    const named = readCardRequest({ workspace_id: 'w', admin: { id: 1, locale: 'de-AT' } });
    assert.equal(named?.adminLocale, 'de-AT');
  });
});

describe('the catalogue', () => {
  for (const language of LANGUAGES) {
    test(`${language}: every sentence is made of what is known, with nothing left over`, () => {
      const words = wordsFor(language);
      const sentences = [
        words.storedData('D'),
        words.replaces('Pro'),
        words.linked('Pro'),
        words.unlinked('Pro'),
      ];
      for (const sentence of sentences) {
        assert.match(sentence, /[.。]$/, sentence);
        assert.doesNotMatch(sentence, /null|undefined| {2}|\.\.|,\s*\.| \./, sentence);
        assert.doesNotMatch(sentence, /\b(ago|tomorrow|yesterday)\b/);
      }
    });
  }
});
