import { globSync, readFileSync } from 'node:fs';
import { parse, TYPE } from '@formatjs/icu-messageformat-parser';
import { LANGUAGES } from '../src/i18n/languages.ts';
import { report } from './report.ts';

/**
 * Fails when a message of `locales/` is missing in a language, unused, malformed, or has other placeholders, and when a
 * French line may break before its punctuation.
 */

const catalogs = new Map(
  LANGUAGES.map((language) => [
    language,
    JSON.parse(readFileSync(`locales/${language}.json`, 'utf8')) as Record<string, string>,
  ]),
);
const english = catalogs.get('en') ?? {};
const problems: string[] = [];

const source = globSync('src/**/*.{ts,eta}')
  .map((file) => readFileSync(file, 'utf8'))
  .join('\n');
const literals = new Set([...source.matchAll(/['"`]([a-z]\w*(?:\.[\w-]+)+)['"`]/g)].map((match) => match[1]));
/** `card.status.${status}` uses every key that begins with `card.status.`. */
const prefixes = [...source.matchAll(/`([a-z]\w*(?:\.[\w-]+)*\.)\$\{/g)].map((match) => match[1] ?? '');

for (const key of Object.keys(english)) {
  const isUsed = literals.has(key) || prefixes.some((prefix) => key.startsWith(prefix));
  if (!isUsed) problems.push(`en: ${key} is not used in src/`);
}
for (const [language, catalog] of catalogs) {
  for (const key of Object.keys(english))
    if (!(key in catalog)) problems.push(`${language}: ${key} is missing`);
  for (const [key, message] of Object.entries(catalog)) {
    if (language === 'fr' && / [:;!?»]|« /.test(message))
      problems.push(
        `fr: ${key} has an ordinary space at a punctuation mark: U+00A0 at : « », U+202F before ; ! ?`,
      );
    if (!(key in english)) problems.push(`${language}: ${key} is not in en.json`);
    else if (placeholders(message, `${language}: ${key}`) !== placeholders(english[key] ?? '', `en: ${key}`))
      problems.push(`${language}: ${key} takes other placeholders than in English`);
  }
}

type Element = ReturnType<typeof parse>[number];

function placeholders(message: string, name: string): string {
  const names = new Set<string>();
  const visit = (elements: readonly Element[]): void => {
    for (const element of elements) {
      if (element.type !== TYPE.literal && element.type !== TYPE.pound) names.add(element.value);
      if (element.type === TYPE.select || element.type === TYPE.plural)
        for (const option of Object.values(element.options)) visit(option.value);
    }
  };
  try {
    visit(parse(message, { ignoreTag: true }));
  } catch (error) {
    problems.push(`${name}: ${String((error as Error).message)}`);
  }
  return [...names].sort().join(',');
}

report(problems, `${Object.keys(english).length} messages in ${LANGUAGES.length} languages`);
