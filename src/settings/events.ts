import type { Router } from 'express';
import { defaultEventName } from '../subscription/kinds.ts';
import { type DeliverableKind, EVENT_KINDS } from '../subscription/types.ts';
import { changeSettings } from './audit.ts';
import { field, pageSql, type SettingsContext, visitOf } from './context.ts';
import { checkEventNames, type EventSettings, MAX_EVENT_NAMES } from './event-names.ts';
import { sendPage } from './render.ts';
import { readKindCounts } from './store.ts';
import { KIND_WORDS } from './words.ts';

export function addEventPages(router: Router, context: SettingsContext): void {
  async function rows(
    workspaceId: string,
    settings: EventSettings,
    problems: ReadonlyMap<DeliverableKind, string>,
  ): Promise<object[]> {
    const counts = await readKindCounts(await pageSql(context), workspaceId);
    return EVENT_KINDS.map((kind) => ({
      kind,
      label: KIND_WORDS[kind][0],
      meaning: KIND_WORDS[kind][1],
      name: settings[kind]?.name ?? '',
      defaultName: defaultEventName(kind),
      enabled: settings[kind]?.enabled ?? true,
      problem: problems.get(kind) ?? null,
      recent: counts.get(kind)?.recent ?? 0,
      lastAt: counts.get(kind)?.lastAt ?? null,
    }));
  }

  router.get('/events', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId, settings } = visit.workspace;
    sendPage(req, res, {
      view: 'events',
      title: 'Events',
      section: 'events',
      visit,
      data: { rows: await rows(workspaceId, settings.events, new Map()), most: MAX_EVENT_NAMES },
    });
  });

  router.post('/events', async (req, res) => {
    const visit = await visitOf(context, res);
    const { workspaceId } = visit.workspace;
    const wanted: EventSettings = {};
    for (const kind of EVENT_KINDS) {
      wanted[kind] = { name: field(req, `name.${kind}`), enabled: field(req, `enabled.${kind}`) === 'on' };
    }
    const problems = checkEventNames(new Map(EVENT_KINDS.map((kind) => [kind, wanted[kind]?.name ?? ''])));
    if (problems.size > 0) {
      sendPage(req, res, {
        view: 'events',
        title: 'Events',
        section: 'events',
        visit,
        errors: ['Nothing was saved. Please correct the marked names.'],
        data: { rows: await rows(workspaceId, wanted, problems), most: MAX_EVENT_NAMES },
      });
      return;
    }
    await changeSettings(context, visit, 'events', wanted, 'events_changed');
    res.redirect(303, '/settings/events?done=events_saved');
  });
}
