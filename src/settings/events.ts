import { z } from 'zod';
import { normalizeEventName } from '../delivery/plan.ts';
import { type DeliverableKind, defaultEventName, EVENT_KINDS } from '../subscription/kinds.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './change-settings.ts';
import { KIND_TEXTS } from './messages.ts';
import { checkboxField, done, form, type Page, type Problems, problems, textField } from './page.ts';
import { readKindCounts } from './repository.ts';

/** Active event names of a workspace, ours and all others. Source: Intercom help, "Events". */
const MAX_EVENT_NAMES = 120;
const MAX_NAME_LENGTH = 255;

/**
 * Kinds that RevenueCat's own integration sends under the name of another kind. They may share that name, so that
 * filters on it continue to match. Source: the stores of each event in its documentation.
 */
const SAME_NAME_ALLOWED: Partial<Record<DeliverableKind, DeliverableKind>> = {
  refund: 'cancellation',
  promotional_revoked: 'cancellation',
  promotional_granted: 'non_subscription_purchase',
};

const mayShareName = (one: DeliverableKind, other: DeliverableKind): boolean =>
  (SAME_NAME_ALLOWED[one] ?? one) === (SAME_NAME_ALLOWED[other] ?? other);

/** Checks the names of all kinds together. @returns what is wrong, by the name of each kind's field */
function checkEventNames(wanted: WorkspaceSettings['events']): Problems {
  const found: Record<string, string> = {};
  const owners = new Map<string, DeliverableKind>();
  for (const kind of EVENT_KINDS) {
    const name = wanted[kind]?.name || defaultEventName(kind);
    const normalized = normalizeEventName(name);
    const owner = owners.get(normalized);
    const field = `name.${kind}`;
    if (name.length > MAX_NAME_LENGTH) found[field] = `At most ${MAX_NAME_LENGTH} characters`;
    // A name with a control character or a pasted invisible one would match nothing that anyone can type.
    else if (/[\p{Cc}\p{Bidi_Control}\u00a0\u00ad\u200b\u2060\ufeff]/u.test(name))
      found[field] =
        'Letters, digits, spaces and punctuation only. It has an invisible character: type it instead of pasting it';
    else if (/[.$]/.test(name)) found[field] = `Intercom turns "." and "$" into "-": use ${normalized}`;
    else if (owner !== undefined && !mayShareName(owner, kind)) {
      // The admin may want to change either of the two names.
      found[`name.${owner}`] ??= sharedName(normalized, kind);
      found[field] = sharedName(normalized, owner);
    }
    owners.set(normalized, owner ?? kind);
  }
  return found;
}

function sharedName(normalized: string, other: DeliverableKind): string {
  const { label } = KIND_TEXTS[other];
  return defaultEventName(other) === normalized
    ? `“${label}” has this name by default`
    : `“${label}” has this name, too`;
}

const schema = z.object(
  Object.fromEntries(
    EVENT_KINDS.flatMap((kind) => [
      [`name.${kind}`, textField],
      [`enabled.${kind}`, checkboxField],
    ]),
  ),
);

const eventsForm = form(schema, async (request, values) => {
  const wanted: WorkspaceSettings['events'] = { ...request.workspace.settings.events };
  // A page that was opened before an upgrade has no fields for the kinds that the upgrade added.
  for (const kind of EVENT_KINDS.filter((each) => `name.${each}` in request.typed))
    wanted[kind] = { name: String(values[`name.${kind}`]), enabled: values[`enabled.${kind}`] === true };
  const found = checkEventNames(wanted);
  if (Object.keys(found).length > 0) return problems(found);
  await changeSettings(request, 'events', wanted);
  return done('/events', 'events_saved');
});

export const eventsPage: Page = {
  path: '/events',
  title: 'Events',
  async load({ workspace, workspaceId, sql }) {
    const { events } = workspace.settings;
    const counts = await readKindCounts(sql, workspaceId);
    return {
      maxNames: MAX_EVENT_NAMES,
      rows: EVENT_KINDS.map((kind) => ({
        kind,
        ...KIND_TEXTS[kind],
        defaultName: defaultEventName(kind),
        name: events[kind]?.name ?? '',
        enabled: events[kind]?.enabled ?? true,
        recent: counts.get(kind)?.recent ?? 0,
        lastAt: counts.get(kind)?.lastAt ?? null,
      })),
    };
  },
  forms: { '': eventsForm },
};
