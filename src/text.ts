import { hash, timingSafeEqual } from 'node:crypto';

/** Characters that reorder the text around them, and control characters except tab and line feed. */
const INVISIBLE = /[[\p{Bidi_Control}\p{Cc}]--[\t\n]]/gv;

/** For text that people read: a product's name or a reason must not reorder or hide the words around it. */
export function stripInvisible(text: string): string {
  return text.replaceAll(INVISIBLE, '');
}

/**
 * Removes invisible characters from a page's text: customers choose names and IDs, which must not reorder the words
 * around them. Attributes stay, because forms and links use the IDs. So does a textarea, which a form sends again.
 */
export function stripInvisibleText(html: string): string {
  return html.replaceAll(/(?<=<(?!textarea\b)[^<>]*>)[^<]+/g, stripInvisible);
}

/** Text that shows nothing: white space, zero-width and other invisible characters, and Braille's empty pattern. */
const BLANK = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\u2800]*$/v;

export function isBlank(text: string): boolean {
  return BLANK.test(text);
}

/** PostgreSQL's text cannot hold NUL, which JSON can escape and anyone can write into an attribute. */
export function stripNul(text: string): string {
  return text.replaceAll('\0', '');
}

/** JSON for PostgreSQL, which accepts neither NUL nor half a surrogate pair; anyone can write both in an attribute. */
export function toStorableJson(value: unknown): string {
  const json = JSON.stringify(value);
  if (!/\\u(?:0000|d[89a-f])/i.test(json)) return json;
  const storable = (text: string): string => stripNul(text).toWellFormed();
  return JSON.stringify(value, (_key, each: unknown) => {
    if (typeof each === 'string') return storable(each);
    if (!isRecord(each)) return each;
    return Object.fromEntries(Object.entries(each).map(([key, inner]) => [storable(key), inner]));
  });
}

/** Separates JSON documents in one parameter: it never occurs in JSON, and in an array every quote would be escaped. */
export const JSON_SEPARATOR = '\x1e';

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text of at most `max` UTF-16 code units, none of them half a character. */
export function cut(text: string, max: number): string {
  return text.length <= max ? text : text.slice(0, max).replace(/[\uD800-\uDBFF]$/, '');
}

export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Orders texts by their code units, the same in every locale. */
export function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Text that a spreadsheet runs as a formula: it may follow white space or a separator, or have full-width signs. */
const FORMULA = /^[\s;,"']*[=+\-@|%\t\r\n＝＋－＠]/;

/** Adds an apostrophe, so that a spreadsheet shows text. csv-stringify's `escape_formulas` misses some of these. */
export function escapeFormula(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

export function unescapeFormula(text: string): string {
  return text.startsWith("'") && FORMULA.test(text.slice(1)) ? text.slice(1) : text;
}

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return UUID_PATTERN.test(text);
}

/** Sorts before all other UUIDs: a list by id starts after it. */
export const NIL_UUID = '00000000-0000-0000-0000-000000000000';

export function equalInConstantTime(a: string, b: string): boolean {
  return timingSafeEqual(hash('sha256', a, 'buffer'), hash('sha256', b, 'buffer'));
}

/** `12,400` */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `1 customer`, `12,400 customers`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
