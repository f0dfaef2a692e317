import { eventNameFor, normalizeEventName } from '../delivery/plan.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/contact-values.ts';
import { type DeliverableKind, EVENT_KINDS } from '../subscription/kinds.ts';
import { STORE_CODES } from '../subscription/names.ts';
import { SUBSCRIPTION_STATUSES } from '../subscription/types.ts';
import { KIND_TEXTS } from './messages.ts';
import type { Page } from './page.ts';
import { readDeliveredKinds } from './repository.ts';
import texts from './texts.json' with { type: 'json' };

/** Values that a filter can compare an attribute with. Source: RevenueCat, "Webhooks: event types and fields". */
const ATTRIBUTE_VALUES: Readonly<Record<string, readonly string[]>> = {
  subscription_status: SUBSCRIPTION_STATUSES,
  latest_store: STORE_CODES,
  rc_period_type: ['TRIAL', 'INTRO', 'NORMAL', 'PREPAID', 'PROMOTIONAL'],
  rc_last_event: EVENT_KINDS,
};

/** What each event and attribute means in Intercom, and the filters to build with them. */
export const usePage: Page = {
  path: '/use',
  title: 'Use in Intercom',
  async load({ workspace, workspaceId, sql }) {
    const { settings } = workspace;
    const names = new Map(EVENT_KINDS.map((kind) => [kind, eventNameFor(kind, settings)]));
    const sent = await readDeliveredKinds(sql, workspaceId, names);
    const events = Array.from(names, ([kind, name]) => ({
      kind,
      name,
      ...KIND_TEXTS[kind],
      isOn: settings.events[kind]?.enabled ?? true,
      isSent: sent.has(kind),
    }));
    /** Other events with the same name. As in RevenueCat's own integration, a refund may be sent as a cancellation. */
    const sharedWith = (event: (typeof events)[number]) =>
      events.filter(
        (other) => other !== event && normalizeEventName(other.name) === normalizeEventName(event.name),
      );
    return {
      recipes: texts.recipes.map((recipe) => ({
        ...recipe,
        filter: recipe.filter.map((condition) =>
          condition.replace(/\{(\w+)\}/, (_, kind: DeliverableKind) => eventNameFor(kind, settings)),
        ),
        events: events
          .filter(({ kind }) => recipe.kinds.some((each) => each === kind))
          .map((event) => ({ ...event, sharedWith: sharedWith(event).map(({ label }) => label) })),
      })),
      events,
      attributes: CONTACT_ATTRIBUTES.map((attribute) => ({
        ...attribute,
        values: ATTRIBUTE_VALUES[attribute.name] ?? [],
      })),
    };
  },
};
