import { CONTACT_ATTRIBUTES } from '../subscription/attributes.ts';
import { type DeliverableKind, defaultEventName, EVENT_KINDS } from '../subscription/kinds.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { KINDS, RECIPES } from './messages.ts';
import type { Page } from './page.ts';
import { readDeliveredKinds } from './repository.ts';

/** What each event and attribute means in Intercom, and the filters to build with them. */
export const usePage: Page = {
  path: '/use',
  title: 'Use in Intercom',
  view: 'use',
  async load({ workspace, sql }) {
    const { events } = workspace.settings;
    const sent = await readDeliveredKinds(sql, workspace.workspaceId);
    return {
      recipes: RECIPES.map((recipe) => ({
        ...recipe,
        filter: recipe.filter.map((condition) =>
          condition.replace(/\{(\w+)\}/, (_, kind: DeliverableKind) => nameOf(events, kind)),
        ),
        events: EVENT_KINDS.filter((kind) => recipe.kinds.some((each) => each === kind)).map((kind) =>
          describeKind(events, kind, sent),
        ),
      })),
      events: EVENT_KINDS.map((kind) => describeKind(events, kind, sent)),
      attributes: CONTACT_ATTRIBUTES,
    };
  },
};

function nameOf(events: WorkspaceSettings['events'], kind: DeliverableKind): string {
  return events[kind]?.name || defaultEventName(kind);
}

function describeKind(events: WorkspaceSettings['events'], kind: DeliverableKind, sent: ReadonlySet<string>) {
  return {
    kind,
    name: nameOf(events, kind),
    ...KINDS[kind],
    isOn: events[kind]?.enabled ?? true,
    isSent: sent.has(kind),
  };
}
