import { defaultEventName } from '../subscription/kinds.ts';
import { type DeliverableKind, EVENT_KINDS } from '../subscription/types.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { KIND_WORDS } from './words.ts';

/** Intercom keeps this many active names a workspace, ours and all others together. Source: Intercom help, "Events". */
export const MAX_EVENT_NAMES = 120;
const MAX_NAME_LENGTH = 255;

export type EventSettings = WorkspaceSettings['events'];

/** A control character would be stored, and then match nothing that anybody can type. */
function hasControlCharacter(text: string): boolean {
  return Array.from(text).some((char) => char < ' ' || char === '\u007f');
}

/** The name under which Intercom will know an event: it is case-insensitive, and `.` and `$` become `-`. */
function asIntercomReads(name: string): string {
  return name.toLowerCase().replaceAll(/[.$]/g, '-');
}

/**
 * Checks the names of all kinds together.
 *
 * @param wanted blank: the default name
 * @returns what to say beside each kind's field; empty when all are good
 */
export function checkEventNames(wanted: ReadonlyMap<DeliverableKind, string>): Map<DeliverableKind, string> {
  const problems = new Map<DeliverableKind, string>();
  const owners = new Map<string, DeliverableKind>();
  for (const kind of EVENT_KINDS) {
    const given = wanted.get(kind)?.trim() ?? '';
    const name = given || defaultEventName(kind);
    const read = asIntercomReads(name);
    const owner = owners.get(read);
    if (name.length > MAX_NAME_LENGTH) {
      problems.set(kind, `At most ${MAX_NAME_LENGTH} characters`);
    } else if (hasControlCharacter(name)) {
      problems.set(kind, 'Letters, digits, spaces and signs only');
    } else if (/[.$]/.test(name)) {
      problems.set(kind, `Intercom turns "." and "$" into "-": use ${asIntercomReads(name)}`);
    } else if (owner !== undefined) {
      // Either of the two may be the one to change.
      for (const each of [owner, kind]) {
        if (!problems.has(each)) problems.set(each, sharedName(read, each === kind ? owner : kind));
      }
    }
    owners.set(read, owner ?? kind);
  }
  return problems;
}

function sharedName(read: string, other: DeliverableKind): string {
  const [label] = KIND_WORDS[other];
  return defaultEventName(other) === read
    ? `“${label}” is called so by default`
    : `“${label}” has this name, too`;
}
