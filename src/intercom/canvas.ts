import type { Messages } from '../i18n/messages.ts';
import { stripInvisible } from '../text.ts';

/**
 * Builders for Canvas Kit in the inbox. The types cannot express what Intercom refuses there: a choice with
 * one option or more than ten, a sheet, a live canvas, a button that is primary by omission.
 *
 * Source: Intercom, "Canvas Kit reference: components"; API description 2.11 (later ones leave it out).
 */

type Action = { readonly type: 'submit' } | { readonly type: 'url'; readonly url: string };

const SUBMIT: Action = { type: 'submit' };

export interface Option {
  readonly type: 'option';
  readonly id: string;
  readonly text: string;
  readonly disabled?: boolean;
}

export interface ListItem {
  readonly type: 'item';
  readonly id: string;
  readonly title: string;
  readonly subtitle?: string;
  readonly tertiary_text?: string;
  readonly action?: Action;
}

const MAX_INPUT_LENGTH = 200;

interface Field {
  readonly id: string;
  readonly label?: string;
  readonly value?: string;
  readonly placeholder?: string;
}

export type Component =
  | {
      readonly type: 'text';
      readonly text: string;
      readonly style: TextStyle;
      readonly bottom_margin?: 'none';
    }
  | {
      readonly type: 'button';
      readonly id: string;
      readonly label: string;
      readonly style: 'primary' | 'secondary' | 'link';
      readonly action: Action;
    }
  | (Field & { readonly type: 'input'; readonly save_state?: 'failed'; readonly disabled?: boolean })
  | (Field & { readonly type: 'textarea'; readonly error?: boolean })
  | (Field & {
      readonly type: 'dropdown' | 'single-select';
      /** Two to ten. */
      readonly options: readonly Option[];
      /** Only a single-select may have one: it then submits as soon as something is chosen. */
      readonly action?: Action;
    })
  | { readonly type: 'list'; readonly items: readonly ListItem[] }
  | {
      readonly type: 'data-table';
      readonly items: readonly {
        readonly type: 'field-value';
        readonly field: string;
        readonly value: string;
      }[];
    }
  | {
      readonly type: 'image';
      /** HTTPS. */
      readonly url: string;
      readonly width: number;
      readonly height: number;
      readonly align: 'full_width';
      readonly bottom_margin?: 'none';
    }
  | { readonly type: 'divider' };

export interface InboxCanvas {
  readonly content: { readonly components: readonly Component[] };
  readonly stored_data?: Readonly<Record<string, unknown>>;
}

/** Intercom's limit for `content` and for `stored_data`, each: 64 KB, by the smaller reading (UNVERIFIED). */
const MAX_BYTES = 64_000;

/** A part of a canvas; an absent one is left out. */
export type Part = Component | readonly Part[] | false | null | undefined;

export function componentsOf(part: Part): Component[] {
  if (!part) return [];
  return 'type' in part ? [part] : part.flatMap(componentsOf);
}

export function canvas(parts: readonly Part[], storedData?: Readonly<Record<string, unknown>>): InboxCanvas {
  const content = { components: componentsOf(parts) };
  const json = JSON.stringify(content);
  for (const part of [json, JSON.stringify(storedData ?? {})]) {
    if (Buffer.byteLength(part) > MAX_BYTES) throw new Error('Canvas larger than 64 KB');
  }
  return {
    content: isReadable(json) ? content : JSON.parse(json, withoutInvisible),
    ...(storedData === undefined ? {} : { stored_data: storedData }),
  };
}

/** Whether nothing has to be stripped. JSON escapes control characters, some of them with a letter. */
function isReadable(json: string): boolean {
  return !/\\(?:u00|[bfr])/.test(json) && stripInvisible(json) === json;
}

/**
 * Ids stay unchanged: nobody reads them, and they identify the component that was clicked. A text of which nothing is
 * left becomes a dash: Canvas Kit requires texts, and a list item without one could not be pressed.
 */
function withoutInvisible(key: string, value: unknown): unknown {
  return typeof value === 'string' && key !== 'id' ? stripInvisible(value) || (value && '–') : value;
}

/**
 * Shows customers' words literally: Canvas Kit interprets links and bold in a text. Whether it honors backslashes is
 * UNVERIFIED, and an id must stay copyable, so an invisible space breaks the marks, and only those. Characters that the
 * canvas strips are stripped first: stripping them later would join marks that they kept apart.
 */
export function escapeMarkdown(text: string): string {
  return stripInvisible(text).replaceAll(/\](?=\()|\*(?=\*)|_(?=_)/g, '$&\u200b');
}

type TextStyle = 'header' | 'paragraph' | 'muted' | 'error';

export function text(content: string, style: TextStyle = 'paragraph'): Component {
  return { type: 'text', text: content, style };
}

/** Has no margin below it, because it belongs to what follows. */
export function tightText(content: string, style: TextStyle): Component {
  return { type: 'text', text: content, style, bottom_margin: 'none' };
}

export function button(id: string, label: string, style: 'primary' | 'secondary' | 'link'): Component {
  return { type: 'button', id, label, style, action: SUBMIT };
}

export function linkButton(id: string, label: string, url: string): Extract<Component, { type: 'button' }> {
  return { type: 'button', id, label, style: 'link', action: { type: 'url', url } };
}

export function item(
  id: string,
  title: string,
  more: { subtitle?: string; tertiary?: string } = {},
): ListItem {
  return {
    type: 'item',
    id,
    title: clip(title, MAX_VALUE_LENGTH),
    ...(more.subtitle ? { subtitle: clip(more.subtitle, MAX_VALUE_LENGTH) } : {}),
    ...(more.tertiary ? { tertiary_text: more.tertiary } : {}),
    action: SUBMIT,
  };
}

/** Customers' words can be of any length; a canvas holds 64 KB. */
export function clip(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  const chars = [...text];
  return chars.length <= maxLength ? text : `${chars.slice(0, maxLength - 1).join('')}…`;
}

const MAX_VALUE_LENGTH = 300;

export function list(items: readonly ListItem[]): Component {
  return { type: 'list', items };
}

/** A row without a value is left out. */
export type Row = readonly [field: string, value: string | null | undefined];

export function table(rows: readonly Row[]): Component[] {
  const items = rows.flatMap(([field, value]) =>
    value
      ? [{ type: 'field-value' as const, field: clip(field, 100), value: clip(value, MAX_VALUE_LENGTH) }]
      : [],
  );
  return items.length === 0 ? [] : [{ type: 'data-table', items }];
}

export function option(id: string, label: string): Option {
  return { type: 'option', id, text: label };
}

/**
 * A dropdown, when there is a choice. One option alone cannot be a dropdown in Canvas Kit: it is an input that
 * already holds the only possible value, so that the form still sends it under the same id.
 *
 * @param field.options at most ten; the caller pages the rest
 */
export function choice(field: Field & { options: readonly Option[] }): Component {
  const { id, label, value, options } = field;
  if (options.length < 2) return { type: 'input', id, label, value: options[0]?.id ?? '' };
  const isOffered = options.some((option) => option.id === value);
  return { type: 'dropdown', id, label, options, ...(value !== undefined && isOffered ? { value } : {}) };
}

/** A single-line field with what was typed before, cut to a maximum length. */
export function input({ value, isWrong, ...field }: Field & { isWrong?: boolean }): Component {
  return {
    type: 'input',
    ...field,
    ...(value ? { value: clip(value, MAX_INPUT_LENGTH) } : {}),
    ...(isWrong ? { save_state: 'failed' } : {}),
  };
}

export function textarea({ value, isWrong, ...field }: Field & { isWrong?: boolean }): Component {
  return { type: 'textarea', ...field, ...(value ? { value } : {}), ...(isWrong ? { error: true } : {}) };
}

/** Two to ten buttons of which one is pressed; pressing another submits under this id. */
export function switcher(field: Field & { options: readonly Option[] }): Component {
  return { type: 'single-select', action: SUBMIT, ...field };
}

/** How many more there are than a list shows. */
export function andMore({ t }: Messages, hidden: number): Part {
  return hidden > 0 && text(t('card.andMore', { count: hidden }), 'muted');
}

export function notInstalled({ t }: Messages, publicUrl: string): Component[] {
  return [
    text(t('card.state.notInstalled'), 'muted'),
    linkButton('install', t('card.button.install'), `${publicUrl}/install`),
  ];
}

/** The way back, at the bottom of every canvas but the first. */
export function backLink(label: string): Component[] {
  return [{ type: 'divider' }, button('home', label, 'link')];
}
