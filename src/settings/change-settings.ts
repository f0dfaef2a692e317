import { hash } from 'node:crypto';
import { MoreThan } from 'typeorm';
import { AuditEntity } from '../database/entities.ts';
import type { Transaction } from '../database/sql.ts';
import { AppError, forbidden } from '../errors.ts';
import { EVENT_KINDS } from '../subscription/kinds.ts';
import { isRecord } from '../text.ts';
import { auditAdmin } from '../workspaces/audit.ts';
import { lockWorkspace, readWorkspace, saveSettings } from '../workspaces/repository.ts';
import {
  canChangeSettings,
  type WorkspaceSettings,
  workspaceSettingsSchema,
} from '../workspaces/settings.ts';
import { changesOf, differences } from './changes.ts';
import type { PageRequest } from './page.ts';

export async function audit(
  { app, session }: PageRequest,
  action: string,
  details: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await auditAdmin(app.database, session, { action, details });
}

const CHANGE_ACTIONS: Readonly<Record<keyof WorkspaceSettings, string>> = {
  events: 'events_changed',
  contacts: 'contacts_changed',
  sandbox: 'sandbox_setting_changed',
  card: 'card_changed',
  messenger: 'messenger_changed',
  access: 'access_changed',
  grants: 'grant_policy_changed',
  actions: 'store_action_policy_changed',
  setup: 'setup_changed',
};

/**
 * Saves one section of the settings with an audit record of the values before and after; without a change, no record.
 *
 * @param change the whole section, as a form has it, or a function from the stored value to the new one
 * @throws AppError `conflict` when the section was changed after the form's page was opened
 */
export async function changeSettings<Section extends keyof WorkspaceSettings>(
  request: PageRequest,
  section: Section,
  change: WorkspaceSettings[Section] | ((stored: WorkspaceSettings[Section]) => WorkspaceSettings[Section]),
): Promise<void> {
  const { app, session, workspace, workspaceId } = request;
  await app.database.transaction(async (sql) => {
    // With the lock, two admins who save concurrently each leave a record of their own changes only.
    await lockWorkspace(sql, workspaceId);
    const before = ((await readWorkspace(sql, workspaceId)) ?? workspace).settings[section];
    const value = typeof change === 'function' ? change(before) : change;
    const changes = differences(complete(section, before), complete(section, value));
    if (changes.length === 0) return;
    if (typeof change !== 'function' && !isShown(request, section, before))
      await assertOwn(sql, request, CHANGE_ACTIONS[section]);
    await saveSettings(sql, workspaceId, { [section]: value });
    const details = { changes, page_opened_at: shownAt(request) };
    await auditAdmin(sql, session, { action: CHANGE_ACTIONS[section], details });
  });
}

/**
 * A hidden field of a page's forms, for `changeSettings` to compare: the workspace, the version of every section of its
 * settings, and the time. The time is from before the settings were read: a page may wait seconds for a platform.
 */
export function versionsOf({ workspace, openedAtMs }: PageRequest): string {
  const { workspaceId, settings } = workspace;
  const versions = Object.entries(settings).map(([section, value]) => versionOf(section, value));
  return [workspaceId, ...versions, openedAtMs].join(' ');
}

/** Whether a form is from a page of another workspace, to which this browser was signed in before. */
export function isOfOtherWorkspace({ input, workspace }: PageRequest): boolean {
  const shown = input('_shown');
  return shown !== '' && !shown.startsWith(`${workspace.workspaceId} `);
}

const versionOf = (section: string, value: unknown): string =>
  hash('sha256', JSON.stringify([section, value]), 'base64url').slice(0, 12);

/** Whether a form's page shows the section as it is stored now. An outdated form would undo the changes since. */
function isShown({ input }: PageRequest, section: string, stored: unknown): boolean {
  const shown = input('_shown');
  return shown === '' || shown.split(' ').includes(versionOf(section, stored));
}

/** When the form's page was opened; 1970 if the form does not say. */
function shownAt({ input }: PageRequest): Date {
  return new Date(Number(/\d{13}$/.exec(input('_shown'))?.[0] ?? 0));
}

/**
 * A form may replace values that were saved from its own page, after *Back* or a retry. It may not replace values that
 * were saved from another page since, even by the same admin.
 */
async function assertOwn({ manager }: Transaction, request: PageRequest, action: string): Promise<void> {
  const { workspaceId, admin } = request.session;
  const openedAt = shownAt(request);
  const since = await manager.find(AuditEntity, {
    where: { workspaceId, action, at: MoreThan(openedAt) },
    order: { auditId: 'DESC' },
  });
  const page = openedAt.toISOString();
  const isOther = ({ actor }: (typeof since)[number]) => actor.id !== admin.id;
  const other = since.find(isOther) ?? since.find(({ details }) => details.page_opened_at !== page);
  if (!other) return;
  const { name, email } = other.actor;
  const who = isOther(other) ? name || email || 'another admin' : 'you';
  const changes = since.toReversed().flatMap(changesOf);
  const stored = [...new Map(changes.map(({ what, after }) => [what, `${what}: ${after}`])).values()].join(
    ', ',
  );
  throw new AppError(
    'conflict',
    `Nothing was saved: ${who} changed these settings after this page was opened. Now stored: ${stored}. Below is what you entered; save again to store that instead.`,
  );
}

/** An event that was never configured has its default name and is on. Saving exactly these values is not a change. */
function complete(section: keyof WorkspaceSettings, value: unknown): unknown {
  if (section !== 'events') return value;
  const events = {
    ...Object.fromEntries(EVENT_KINDS.map((kind) => [kind, {}])),
    ...(isRecord(value) ? value : {}),
  };
  return workspaceSettingsSchema.parse({ events }).events;
}

/**
 * Whether this admin can change the settings. If everyone who was selected has left the team, everyone can: that is
 * the way back in without uninstalling.
 */
export async function isAllowedToChange({ sessions, session, workspace }: PageRequest): Promise<boolean> {
  if (canChangeSettings(workspace.settings, session.admin.id)) return true;
  const team = await sessions.readTeam(session.workspaceId);
  return team !== 'unknown' && !workspace.settings.access.admins?.some(({ id }) => team.has(id));
}

/** @throws AppError `forbidden` when this admin can only view the settings */
export async function assertAllowedToChange(request: PageRequest): Promise<void> {
  if (await isAllowedToChange(request)) return;
  const names = (request.workspace.settings.access.admins ?? []).map(({ name }) => name).join(', ');
  await audit(request, 'change_refused');
  throw forbidden(`Nothing was changed: only these teammates can change the settings: ${names}`);
}
