import type { Sql } from '../database/sql.ts';
import { EVENT_KINDS } from '../subscription/types.ts';
import { isRecord } from '../text.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type WorkspaceSettings, workspaceSettingsSchema } from '../workspaces/settings.ts';
import { readWorkspace, saveSettings } from '../workspaces/store.ts';
import type { SettingsContext, Visit } from './context.ts';

/** Records who changed what in the settings, beside the grants. */
export async function auditChange(
  context: Pick<SettingsContext, 'database'>,
  visit: Visit,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await record(context.database, visit, action, details);
}

/** Saves one section of the settings with a record of what it was and what it is. What stays the same leaves none. */
export async function changeSettings<Section extends keyof WorkspaceSettings>(
  context: Pick<SettingsContext, 'database'>,
  visit: Visit,
  section: Section,
  value: WorkspaceSettings[Section],
  action: string,
): Promise<void> {
  const { workspaceId } = visit.workspace;
  await context.database.transaction(async (sql) => {
    // Two admins who save at once each leave a record of what they themselves changed.
    await sql.query('select 1 from workspaces where workspace_id = $1 for update', [workspaceId]);
    const before = (await readWorkspace(sql, workspaceId))?.settings[section];
    const changes = differences(filledUp(section, before), filledUp(section, value));
    if (changes.length === 0) return;
    await saveSettings(sql, workspaceId, section, value);
    await record(sql, visit, action, { changes });
  });
}

/** An event that was never set has its default name and is on: saving just that is no change. */
function filledUp(section: keyof WorkspaceSettings, value: unknown): unknown {
  return section === 'events' ? workspaceSettingsSchema.parse({ events: everyEvent(value) }).events : value;
}

function everyEvent(value: unknown): Record<string, unknown> {
  return { ...Object.fromEntries(EVENT_KINDS.map((kind) => [kind, {}])), ...(isRecord(value) ? value : {}) };
}

async function record(
  sql: Sql,
  visit: Visit,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await writeAudit(sql, {
    workspaceId: visit.workspace.workspaceId,
    actor: visit.session.admin,
    action,
    conversationId: null,
    contactId: null,
    subscriberId: null,
    details,
    result: 'ok',
  });
}

export interface Change {
  /** Where in the section: `renewal.name`. */
  readonly what: string;
  readonly from: unknown;
  readonly to: unknown;
}

/** Every value in which two sections differ; lists are compared as a whole. */
export function differences(from: unknown, to: unknown, path: readonly string[] = []): Change[] {
  if (isRecord(from) || isRecord(to)) {
    const [before, after] = [isRecord(from) ? from : {}, isRecord(to) ? to : {}];
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      differences(before[key], after[key], [...path, key]),
    );
  }
  if (JSON.stringify(from) === JSON.stringify(to)) return [];
  return [{ what: path.join('.'), from: from ?? null, to: to ?? null }];
}
