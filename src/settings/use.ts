import { eventNameFor } from '../delivery/plan.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/contact-values.ts';
import { type DeliverableKind, EVENT_KINDS } from '../subscription/kinds.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { KIND_TEXTS } from './messages.ts';
import type { Page } from './page.ts';
import { readDeliveredKinds } from './repository.ts';
import texts from './texts.json' with { type: 'json' };

/** What each event and attribute means in Intercom, and the filters to build with them. */
export const usePage: Page = {
  path: '/use',
  title: 'Use in Intercom',
  view: 'use',
  async load({ workspace, sql }) {
    const { settings } = workspace;
    const sent = await readDeliveredKinds(sql, workspace.workspaceId);
    return {
      recipes: texts.recipes.map((recipe) => ({
        ...recipe,
        filter: recipe.filter.map((condition) =>
          condition.replace(/\{(\w+)\}/, (_, kind: DeliverableKind) => eventNameFor(kind, settings)),
        ),
        events: EVENT_KINDS.filter((kind) => recipe.kinds.some((each) => each === kind)).map((kind) =>
          describeKind(kind, settings, sent),
        ),
      })),
      events: EVENT_KINDS.map((kind) => describeKind(kind, settings, sent)),
      attributes: CONTACT_ATTRIBUTES,
    };
  },
};

function describeKind(
  kind: DeliverableKind,
  settings: Pick<WorkspaceSettings, 'events'>,
  sent: ReadonlySet<string>,
) {
  return {
    kind,
    name: eventNameFor(kind, settings),
    ...KIND_TEXTS[kind],
    isOn: settings.events[kind]?.enabled ?? true,
    isSent: sent.has(kind),
  };
}
