import type { RequestHandler, Router } from 'express';
import { forbidden } from '../errors.ts';
import { canChangeSettings, type WorkspaceSettings } from '../workspaces/settings.ts';
import { changeSettings } from './audit.ts';
import { auditLine, auditSections } from './audit-words.ts';
import { fields, pageSql, type SettingsContext, type Visit, visitOf } from './context.ts';
import { sendPage } from './render.ts';
import { listAudit } from './store.ts';
import { listTeammates } from './teammates.ts';

const LAST_CHANGES = 20;

type Access = { admins: NonNullable<WorkspaceSettings['access']['admins']> };

/** Lets a form pass that its sender may send. */
export function requireChanger(context: SettingsContext): RequestHandler {
  return async (_req, res, next) => {
    const { session, workspace } = await visitOf(context, res);
    if (canChangeSettings(workspace.settings, session.admin.id)) return next();
    const names = (workspace.settings.access.admins ?? []).map(({ name }) => name).join(', ');
    next(forbidden(`Nothing was changed: only these teammates may change the settings: ${names}`));
  };
}

/** Who may change the settings, and who has. */
export function addAccessPage(router: Router, context: SettingsContext): void {
  async function show(
    req: Parameters<typeof sendPage>[0],
    res: Parameters<typeof sendPage>[1],
    visit: Visit,
    chosen: Access['admins'],
    errors: readonly string[] = [],
  ): Promise<void> {
    const { workspace } = visit;
    const [people, changes] = await Promise.all([
      choices(visit),
      listAudit(
        await pageSql(context),
        workspace.workspaceId,
        { person: '', actions: auditSections.settings.actions, beforeId: null },
        LAST_CHANGES,
      ),
    ]);
    sendPage(req, res, {
      view: 'access',
      title: 'Access',
      section: 'access',
      visit,
      errors,
      data: {
        people: people.all.map(({ id, name }) => ({
          id,
          name,
          isChosen: chosen.some((admin) => admin.id === id),
          isSelf: id === visit.session.admin.id,
        })),
        isOpen: chosen.length === 0,
        teamUnknown: people.unknown,
        changes: changes.map(auditLine),
      },
    });
  }

  /** Everybody in the team, and those who were chosen before. */
  async function choices(visit: Visit): Promise<{ all: Access['admins']; unknown: boolean }> {
    const team = await listTeammates(context, visit.workspace);
    const all = new Map((visit.workspace.settings.access.admins ?? []).map((admin) => [admin.id, admin]));
    const { id, name, email } = visit.session.admin;
    all.set(id, { id, name: name || email || id });
    for (const mate of team ?? [])
      all.set(mate.id, { id: mate.id, name: mate.name || mate.email || mate.id });
    return { all: [...all.values()], unknown: team === null };
  }

  router.get('/access', async (req, res) => {
    const visit = await visitOf(context, res);
    await show(req, res, visit, visit.workspace.settings.access.admins ?? []);
  });

  router.post('/access', async (req, res) => {
    const visit = await visitOf(context, res);
    const ticked = new Set(fields(req, 'admin'));
    const admins = (await choices(visit)).all.filter(({ id }) => ticked.has(id));
    // Strangers are left out; without anybody else that would open the settings to everybody.
    if (ticked.size > 0 && admins.length === 0) {
      await show(req, res, visit, visit.workspace.settings.access.admins ?? [], [
        'Nothing was saved: nobody who was ticked is in your team. Choose again.',
      ]);
      return;
    }
    if (
      !canChangeSettings({ access: { admins: admins.length === 0 ? null : admins } }, visit.session.admin.id)
    ) {
      await show(req, res, visit, admins, [
        'Nothing was saved: you would shut yourself out. Tick your own name too, or nobody’s.',
      ]);
      return;
    }
    await changeSettings(
      context,
      visit,
      'access',
      { admins: admins.length === 0 ? null : admins },
      'access_changed',
    );
    res.redirect(303, '/settings/access?done=access_saved');
  });
}
