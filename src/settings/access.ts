import { z } from 'zod';
import { notFound } from '../errors.ts';
import { displayName } from '../workspaces/repository.ts';
import { deleteOtherSessions, IDLE_MINUTES, listSessions, SESSION_HOURS } from '../workspaces/sessions.ts';
import { canChangeSettings } from '../workspaces/settings.ts';
import { audit, changeSettings } from './change-settings.ts';
import { confirmationPage, done, form, type Page, type PageRequest, problems } from './page.ts';
import { choosePeople, loadPeople, peopleFields } from './people.ts';

export const accessPage: Page = {
  path: '/access',
  title: 'Access',
  async load(request) {
    const { app, workspace, workspaceId, session } = request;
    const { admins } = workspace.settings.access;
    const [people, sessions] = await Promise.all([
      loadPeople(request, admins ?? []),
      listSessions(app, workspaceId),
    ]);
    return {
      people,
      selected: admins?.map(({ id }) => id) ?? null,
      isOverridden: !canChangeSettings(workspace.settings, session.admin.id),
      sessions: sessions.map(({ sessionHash, ...each }) => ({
        ...each,
        device: deviceOf(each.userAgent),
        isCurrent: sessionHash === session.sessionHash,
      })),
      sessionHours: SESSION_HOURS,
      idleHours: IDLE_MINUTES / 60,
    };
  },
  forms: {
    '': form(z.object(peopleFields), async (request, values) => {
      const choice = choosePeople(
        values,
        await loadPeople(request, request.workspace.settings.access.admins ?? [], values.people),
      );
      if ('problem' in choice) return problems({ people: choice.problem });
      const admins = choice.selected;
      if (!canChangeSettings({ access: { admins } }, request.session.admin.id))
        return problems({ people: 'Nothing was saved: you would shut yourself out. Select yourself, too.' });
      await changeSettings(request, 'access', { admins });
      return done('/access', 'access_saved');
    }),
  },
};

export const signOutPage = confirmationPage({
  path: '/access/sign-out',
  title: 'Sign out everywhere',
  find: personOf,
  describe: ({ id, name, isSelf }) => ({
    heading: isSelf ? 'Sign out your other sessions?' : `Sign out ${name} everywhere?`,
    effects: [
      isSelf
        ? 'Every browser but this one has to sign in again.'
        : 'Every browser of this teammate has to sign in again.',
      'Their right to sign in does not change. To end it, remove the teammate in Intercom.',
    ],
    fields: { admin: id },
    button: 'Sign out everywhere',
  }),
  async save(request, { id, name }) {
    const { workspaceId, sessionHash } = request.session;
    await deleteOtherSessions(request.app.database, { workspaceId, adminId: id, exceptHash: sessionHash });
    await audit(request, 'sessions_ended', { name });
    return done('/access', 'sessions_ended');
  },
});

async function personOf(request: PageRequest): Promise<{ id: string; name: string; isSelf: boolean }> {
  const { workspaceId, admin: self } = request.session;
  const sessions = await listSessions(request.app, workspaceId);
  const found = sessions.find(({ admin }) => admin.id === request.input('admin'));
  if (!found) throw notFound('This teammate is not signed in');
  const { admin } = found;
  return { id: admin.id, name: displayName(admin), isSelf: admin.id === self.id };
}

/** Text in a user agent, with the name that people use; the first match counts. */
const BROWSERS = { Edg: 'Edge', Firefox: 'Firefox', Chrome: 'Chrome', Safari: 'Safari' };
const SYSTEMS = {
  iPhone: 'iPhone',
  iPad: 'iPad',
  Android: 'Android',
  Windows: 'Windows',
  'Mac OS': 'macOS',
  Linux: 'Linux',
};

/** `Chrome on macOS`: enough to recognize one's own browsers. */
function deviceOf(userAgent: string): string {
  const find = (names: Readonly<Record<string, string>>): string | undefined =>
    Object.entries(names).find(([mark]) => userAgent.includes(mark))?.[1];
  const browser = find(BROWSERS) ?? 'Unknown browser';
  const system = find(SYSTEMS);
  return system ? `${browser} on ${system}` : browser;
}
