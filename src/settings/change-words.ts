import { defaultEventName } from '../subscription/kinds.ts';
import { EVENT_KINDS } from '../subscription/types.ts';
import { KIND_WORDS } from './words.ts';

/** Settings as an admin reads them, by where they stand in their section. */
const SETTING_WORDS: ReadonlyMap<string, string> = new Map([
  ['create', 'When a customer has no contact'],
  ['matchByEmail', 'Match by email'],
  ['deliver', 'Sandbox events on contacts'],
  ['language', 'Language of the card'],
  ['admins', 'May change the settings'],
  ['enabled', 'Granting'],
  ['allowedAdminIds', 'May grant'],
  ['longestDays', 'Longest grant, days'],
  ['lifetimeAllowed', 'Lifetime grants'],
  ['reasonRequired', 'A reason must be given'],
  ['monthlyPerAdmin', 'Grants a month'],
  ['secondPersonAboveDays', 'Second teammate above, days'],
]);

/** A recorded change of settings in words, each as `what: from → to`; nothing where the record has none. */
export function changesInWords(changes: unknown): string[] {
  if (!Array.isArray(changes)) return [];
  return changes.flatMap((change: unknown) => {
    const { what, from, to } = (change ?? {}) as Record<string, unknown>;
    return typeof what === 'string' ? [line(what, from, to)] : [];
  });
}

function line(what: string, from: unknown, to: unknown): string {
  const [first, second] = what.split('.');
  const kind = EVENT_KINDS.find((each) => each === first);
  if (!kind) return `${SETTING_WORDS.get(what) ?? what}: ${value(from)} → ${value(to)}`;
  const label = KIND_WORDS[kind][0];
  if (second === 'enabled') return `${label}: ${to === false ? 'switched off' : 'switched on'}`;
  const name = (given: unknown): string =>
    typeof given === 'string' && given ? given : defaultEventName(kind);
  return `${label}: ${name(from)} → ${name(to)}`;
}

function value(given: unknown): string {
  if (given === null || given === undefined || given === '') return 'not set';
  if (typeof given === 'boolean') return given ? 'on' : 'off';
  if (!Array.isArray(given)) return String(given);
  const names = given.map((each: unknown) =>
    typeof each === 'object' && each !== null && 'name' in each ? String(each.name) : String(each),
  );
  return names.length === 0 ? 'everybody' : names.join(', ');
}
