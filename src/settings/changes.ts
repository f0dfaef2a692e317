import { defaultEventName, EVENT_KINDS } from '../subscription/kinds.ts';
import { isRecord } from '../text.ts';
import type { AuditEntry } from '../workspaces/audit.ts';
import { KIND_TEXTS, textFor } from './messages.ts';
import texts from './texts.json' with { type: 'json' };

/**
 * Lists the values that differ between two sections, each with its path: `renewal.name`. Lists are compared as a whole,
 * and so is a value that only one section has.
 */
export function differences(
  from: unknown,
  to: unknown,
  path: readonly string[] = [],
): { what: string; from: unknown; to: unknown }[] {
  if (isRecord(from) && isRecord(to))
    return [...new Set([...Object.keys(from), ...Object.keys(to)])].flatMap((key) =>
      differences(from[key], to[key], [...path, key]),
    );
  if (JSON.stringify(from) === JSON.stringify(to)) return [];
  return [{ what: path.join('.'), from: from ?? null, to: to ?? null }];
}

/** The settings that were changed, with their values before and after. */
export function changesOf({ action, details }: Pick<AuditEntry, 'action' | 'details'>) {
  const changes = (details.changes ?? []) as ReturnType<typeof differences>;
  return changes.map(({ what: path, from, to }) => {
    const { label, format } = action === 'events_changed' ? eventSettingOf(path) : settingOf(path);
    return { what: label, before: format(from), after: format(to) };
  });
}

interface Setting {
  readonly label: string;
  format(value: unknown): string;
}

/** @param path `renewal.name`, `renewal.enabled` */
function eventSettingOf(path: string): Setting {
  const [first, field] = path.split('.');
  const kind = EVENT_KINDS.find((each) => each === first);
  if (!kind) return settingOf(path);
  const format = (value: unknown): string => {
    if (field === 'enabled') return value === false ? 'switched off' : 'switched on';
    return String(value || defaultEventName(kind));
  };
  return { label: KIND_TEXTS[kind].label, format };
}

/** Settings for which `null` means everyone. */
const EVERYONE_SETTINGS = ['admins', 'allowedAdminIds'];

/** @param path a setting, or a rule of a store action: `refund.enabled` */
function settingOf(path: string): Setting {
  const [kind = '', rule = path] = path.split('.');
  const action = Object.entries(texts.storeActions).find(([each]) => each === kind)?.[1];
  const label = action
    ? [action.label, textFor(texts.storeRules, rule)].filter(Boolean).join(': ')
    : textFor(texts.settings, path);
  const isOfPeople = EVERYONE_SETTINGS.includes(rule);
  return { label, format: (value) => (value === null && isOfPeople ? 'everyone' : valueText(value)) };
}

function valueText(value: unknown): string {
  if (value === null || value === '') return 'not set';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (Array.isArray(value)) return value.length === 0 ? 'nobody' : value.map(valueText).join(', ');
  // Either a person in a list, or an accepted risk with its reason.
  if (isRecord(value)) return String(value.name ?? value.reason);
  return String(value);
}
