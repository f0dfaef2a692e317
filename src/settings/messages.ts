import { type DeliverableKind, EVENT_KINDS } from '../subscription/kinds.ts';
import { capitalize } from '../text.ts';
import texts from './texts.json' with { type: 'json' };

/** Texts that do not belong to one view are in texts.json; this module chooses among them. */

/** A message that a form was saved, or why not everything was done. URLs contain only its code. */
export type FlashCode = keyof typeof texts.flashes | keyof typeof texts.warnings;

/** The message for a code from a URL; `null`: unknown. */
export function flashOf(code: string): { readonly text: string; readonly tone: 'good' | 'todo' } | null {
  const { flashes, warnings } = texts;
  if (Object.hasOwn(flashes, code)) return { text: textFor(flashes, code), tone: 'good' };
  return Object.hasOwn(warnings, code) ? { text: textFor(warnings, code), tone: 'todo' } : null;
}

const MEANINGS: Readonly<Record<DeliverableKind, string>> = texts.kinds;
/** Labels of kinds whose code does not make a clear label. */
const LABELS: Readonly<Partial<Record<DeliverableKind, string>>> = texts.kindLabels;

export const KIND_TEXTS = Object.fromEntries(
  EVENT_KINDS.map((kind) => [kind, { label: LABELS[kind] ?? labelOf(kind), meaning: MEANINGS[kind] }]),
) as Readonly<Record<DeliverableKind, { label: string; meaning: string }>>;

/** Turns a code into text: `EXPERIMENT_ENROLLMENT` becomes "Experiment enrollment". */
export function labelOf(code: string): string {
  return capitalize(code.toLowerCase().replaceAll('_', ' '));
}

/** Why an event is not on its contact, and the remedy. */
export function reasonText(reason: string | null): string {
  return reason === null ? '' : textFor(texts.reasons, reason);
}

/** A code that has no text is shown as it is. */
export function textFor(list: Readonly<Record<string, string>>, code: string): string {
  return Object.hasOwn(list, code) ? (list[code] ?? code) : code;
}

/** @param about replaces the text's placeholder: a project, Intercom's message or a count */
export function adviceOn(code: keyof typeof texts.advice, about = '') {
  const advice = texts.advice[code];
  return { ...advice, text: advice.text.replace(/\{\w+\}/, () => about) };
}
