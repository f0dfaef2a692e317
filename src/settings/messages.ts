import { messagesFor } from '../i18n/messages.ts';
import { type DeliverableKind, defaultEventName, EVENT_KINDS } from '../subscription/kinds.ts';
import { isRecord } from '../text.ts';
import type { AuditEntry } from '../workspaces/audit.ts';
import { displayName } from '../workspaces/repository.ts';
import texts from './texts.json' with { type: 'json' };

/** Texts that do not belong to one view are in texts.json; this module chooses among them. */

/** What a page says after a form was saved; addresses carry only the codes. */
export type FlashCode = keyof typeof texts.flashes;

/** The message of a code from an address; `null`: unknown. */
export function flashText(code: string): string | null {
  return Object.hasOwn(texts.flashes, code) ? texts.flashes[code as FlashCode] : null;
}

export const KINDS: Readonly<Record<DeliverableKind, { label: string; meaning: string }>> = texts.kinds;

/** A type of RevenueCat's without a label of its own: `EXPERIMENT_ENROLLMENT` is "Experiment enrollment". */
export function labelOfType(type: string): string {
  const text = type.toLowerCase().replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Why an event is not on its contact, and the remedy. */
export function reasonText(reason: string | null): string {
  return reason === null ? '' : textFor(texts.reasons, reason);
}

/** Without a text of its own, a code is shown as it is. */
function textFor(list: Readonly<Record<string, string>>, code: string): string {
  return Object.hasOwn(list, code) ? (list[code] ?? code) : code;
}

/** Parts of the audit log that can be shown separately, with the texts of their actions. */
export const AUDIT_SECTIONS: Readonly<
  Record<string, { readonly label: string; readonly actions: Readonly<Record<string, string>> }>
> = texts.auditSections;
const ACTIONS: Readonly<Record<string, string>> = Object.assign(
  {},
  ...Object.values(AUDIT_SECTIONS).map(({ actions }) => actions),
);

const DONE_RESULTS = ['confirmed', 'revoked', 'approved', 'declined', 'withdrawn', 'ok', 'done'];

/** What was tried and did not happen does not read as done. */
function actionText(action: string, result: string): string {
  if (DONE_RESULTS.includes(result)) return textFor(ACTIONS, action);
  const other = result === 'awaiting_approval' ? texts.requests : texts.attempts;
  return textFor(Object.hasOwn(other, action) ? other : ACTIONS, action);
}

const REFUSED = 'refused: ';

function resultText(result: string): string {
  if (!result.startsWith(REFUSED)) return textFor(texts.results, result);
  const reason = result.slice(REFUSED.length);
  const text = Object.hasOwn(texts.refusals, reason)
    ? textFor(texts.refusals, reason)
    : textFor(texts.results, reason).replace('Failed: ', '');
  return `Refused: ${text}`;
}

/** Settings for which `null` means that there is no restriction to people. */
const EVERYONE_SETTINGS = ['admins', 'allowedAdminIds'];

function changeTexts({ action, details }: Pick<AuditEntry, 'action' | 'details'>) {
  const { changes } = details;
  if (!Array.isArray(changes)) return [];
  return changes.flatMap((change: unknown) => {
    const { what, from, to } = (change ?? {}) as Record<string, unknown>;
    if (typeof what !== 'string') return [];
    return [action === 'events_changed' ? eventChange(what, from, to) : settingChange(what, from, to)];
  });
}

/** @param what a setting, or a rule of a store action: `refund.enabled` */
function settingChange(what: string, from: unknown, to: unknown) {
  const [action = '', rule = what] = what.split('.');
  const label = Object.entries(texts.storeActions).find(([kind]) => kind === action)?.[1].label;
  const value = (given: unknown): string =>
    given === null && EVERYONE_SETTINGS.includes(rule) ? 'everyone' : valueText(given);
  return {
    what: label
      ? [label, textFor(texts.storeRules, rule)].filter(Boolean).join(': ')
      : textFor(texts.settings, what),
    before: value(from),
    after: value(to),
  };
}

function eventChange(what: string, from: unknown, to: unknown) {
  const [first, second] = what.split('.');
  const kind = EVENT_KINDS.find((each) => each === first);
  if (!kind) return settingChange(what, from, to);
  const value = (given: unknown): string => {
    if (second === 'enabled') return given === false ? 'switched off' : 'switched on';
    return typeof given === 'string' && given ? given : defaultEventName(kind);
  };
  return { what: KINDS[kind].label, before: value(from), after: value(to) };
}

function valueText(given: unknown): string {
  if (given === null || given === undefined || given === '') return 'not set';
  if (typeof given === 'boolean') return given ? 'on' : 'off';
  if (Array.isArray(given)) return given.length === 0 ? 'nobody' : given.map(valueText).join(', ');
  // A person of a list, or why a risk was accepted.
  if (isRecord(given)) return String(given.name ?? given.reason);
  return String(given);
}

function amountText({ amount_minor: minor, currency }: AuditEntry['details']): string {
  if (typeof minor !== 'number' || typeof currency !== 'string') return '';
  return messagesFor('en').money({ amountMinor: minor, currency });
}

export function auditEntry(row: AuditEntry) {
  const detail = (name: string): string => {
    const value = row.details[name];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  const end = Date.parse(detail('actual_end') || detail('requested_end'));
  const requestedBy = row.action.endsWith('_approve') ? detail('requested_by') : '';
  const whats = [
    detail('entitlement'),
    detail('product'),
    amountText(row.details),
    detail('duration').replaceAll('_', ' '),
    detail('project'),
    detail('name'),
    detail('count'),
  ];
  return {
    at: row.at,
    who: displayName(row.actor),
    action: actionText(row.action, row.result) + (requestedBy ? ` of ${requestedBy}` : ''),
    what: whats.filter(Boolean).join(', '),
    changes: changeTexts(row),
    until: Number.isNaN(end) ? null : new Date(end),
    customer: detail('app_user_id'),
    conversation: row.conversationId ?? '',
    reason: detail('reason'),
    result: resultText(row.result),
  };
}

/** @param about the project or Intercom's message that the text names */
export function adviceOn(code: keyof typeof texts.advice, about = '') {
  const advice = texts.advice[code];
  return { ...advice, text: advice.text.replace(/\{\w+\}/, () => about) };
}
