import type { CustomerDescription } from '../subscription/describe-customer.ts';
import type { End, SeveralItem, Statement, StatusLabel } from '../subscription/describe-subscription.ts';
import { type Period, type Price, toMajor } from '../subscription/money.ts';
import { storeName } from '../subscription/names.ts';
import type { Money } from '../subscription/types.ts';
import { capitalize } from '../text.ts';
import type { Messages, MessageValues } from './messages.ts';

/** Who reads: a teammate about the customer, or the customer. */
export type Voice = 'agent' | 'customer';

/** The answer to most tickets in one or two sentences, for an agent. */
export function overviewText(m: Messages, { statements }: { statements: readonly Statement[] }): string {
  return statementsText(m, 'agent', statements);
}

/** Everything current of customers who are one person. If nothing is: what ended last, or where purchases moved. */
export function customerText(m: Messages, descriptions: readonly CustomerDescription[]): string {
  const current = descriptions.flatMap(({ subscriptions, grants }) =>
    [...subscriptions, ...grants].filter(({ tone }) => tone !== 'ended'),
  );
  const listed = descriptions.flatMap(({ statements }) => statements.filter(({ kind }) => kind === 'listed'));
  const [first] = descriptions;
  const isNothing = current.length + listed.length === 0;
  const shown = isNothing ? [first?.primary ?? first].filter((each) => each !== undefined) : current;
  const statements = [...shown.flatMap((each) => each.statements), ...listed];
  return statementsText(m, 'customer', statements) || m.t('sentence.customer.nothing');
}

/** Skips statements for agents only: they have no message for customers. Japanese joins sentences without a space. */
export function statementsText(m: Messages, voice: Voice, statements: readonly Statement[]): string {
  const texts = statements.flatMap((statement) => {
    const key = `sentence.${voice}.${statement.kind}`;
    if (!m.has(key)) return [];
    const values = valuesOf(m, voice, statement);
    const text = m.t(key, values);
    return [isUnnamed(statement) ? capitalizeUnnamed(text, values.what) : text];
  });
  return texts.filter((text) => text !== '').join(m.language === 'ja' ? '' : ' ');
}

function isUnnamed(statement: Statement): boolean {
  return 'what' in statement && statement.what === '';
}

/** A name keeps its case. The text for an unknown name, such as "your subscription", may begin a sentence. */
function capitalizeUnnamed(text: string, what: MessageValues[string] = null): string {
  return typeof what === 'string' ? capitalize(text.replaceAll(`. ${what}`, `. ${capitalize(what)}`)) : text;
}

type Field = string | number | null | Price | Money | readonly SeveralItem[];

const DATES: ReadonlySet<string> = new Set(['on', 'until', 'next', 'since', 'starts', 'resumes']);

function valuesOf(m: Messages, voice: Voice, statement: Statement): MessageValues {
  const values: Record<string, string | number | null> = {};
  for (const [name, value] of Object.entries<Field>({ ...statement })) {
    if (value === null || typeof value === 'string') values[name] = value;
    else if (typeof value === 'number') values[name] = DATES.has(name) ? m.date(value) : value;
    else if ('money' in value) values[name] = priceText(m, value);
    else if ('currency' in value) values[name] = m.money(value);
    else values[name] = itemsText(m, value, 'more' in statement ? statement.more : 0);
  }
  // In French the participle agrees with the sum: 1,99 € remboursé, 2,00 € remboursés.
  const sum = 'sum' in statement ? statement.sum : null;
  values.amount = sum === null ? 0 : toMajor(sum);
  if (isUnnamed(statement)) {
    const key = voice === 'customer' ? 'sentence.customer.yours' : 'sentence.agent.access';
    // For an agent, the sentence about ended access needs no name.
    values.what = voice === 'agent' && statement.kind === 'expired' ? null : m.t(key);
  }
  if ('store' in statement) {
    const { store } = statement;
    // The company that collects the payment, as the subject of a sentence.
    values.who = m.t('sentence.charger', { store, name: storeName(store) });
    values.storeName = storeText(m, store);
  }
  if ('reason' in statement && statement.reason !== null && voice === 'agent')
    values.reason = m.t(`sentence.reason.${statement.reason}`);
  return values;
}

function itemsText(m: Messages, items: readonly SeveralItem[], more: number): string {
  const parts = items.map((item) => itemText(m, item));
  return m.list(more > 0 ? [...parts, m.t('sentence.more', { count: more })] : parts);
}

function itemText(m: Messages, { what, period, store, note }: SeveralItem): string {
  const about = [period && periodText(m, period), storeText(m, store), note && noteText(m, note)].filter(
    (part) => part !== null,
  );
  const name = what || m.t('sentence.agent.unnamed');
  return about.length === 0 ? name : m.t('sentence.item', { what: name, about: m.commaList(about) });
}

function noteText(m: Messages, note: Statement): string | null {
  const key = `sentence.note.${note.kind}`;
  const { until = null, resumes = null, product = null } = valuesOf(m, 'agent', note);
  return m.has(key) ? m.t(key, { at: note.kind === 'paused' ? resumes : until, product }) : null;
}

/** `$9.99 a month`, `$9.99 every 3 months`. */
export function priceText(m: Messages, { money, period }: Price): string {
  const sum = m.money(money);
  return period === null ? sum : m.t('sentence.price', { sum, unit: period.unit, count: period.count });
}

/** `monthly`, `every 3 months`. */
export function periodText(m: Messages, { unit, count }: Period): string {
  return m.t('sentence.period', { unit, count });
}

/** A store's brand, or the word for a grant; `null`: unknown. */
export function storeText(m: Messages, store: string | null): string | null {
  return store === 'PROMOTIONAL' ? m.t('sentence.granted') : storeName(store);
}

export function statusText(m: Messages, label: StatusLabel): string {
  return m.t(`sentence.status.${label}`);
}

/** A label and a date, `['Renews', 'Jan 8, 2027']`, or no row. */
export function endRow(m: Messages, end: End | null): [label: string, value: string][] {
  if (end === null) return [];
  const { label, atMs } = end;
  return [[m.t(`sentence.label.${label}`), atMs === null ? m.t('sentence.never') : m.date(atMs)]];
}

/** The same as one line of text; `null`: no row. */
export function endLine(m: Messages, end: End | null): string | null {
  const [row] = endRow(m, end);
  return row ? labeled(m, ...row) : null;
}

export function labeled({ t }: Messages, label: string, text: string): string {
  return t('sentence.labeled', { label, text });
}

/** What was paid so far and since when; `null`: nothing. */
export function paidText(m: Messages, { paid, paidSinceMs }: CustomerDescription): string | null {
  if (paid.length === 0) return null;
  const since = paidSinceMs === null ? null : m.date(paidSinceMs);
  return m.t('sentence.paidSince', { sum: m.list(paid.map((money) => m.money(money))), since });
}
