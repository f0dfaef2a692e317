import { IsNull } from 'typeorm';
import {
  type Actor,
  ApiKeyEntity,
  columnsOf,
  ProjectEntity,
  SessionEntity,
  updateRows,
  upsert,
  WorkspaceEntity,
  type WorkspaceRow,
} from '../database/entities.ts';
import { type Database, type Entities, notifyDelivery, type Sql, type Transaction } from '../database/sql.ts';
import { WORKSPACE_TABLES } from '../database/tables.ts';
import { WAKE_AND_RETRY, wakeSubscribers } from '../database/wake-subscribers.ts';
import { knownZone } from '../i18n/messages.ts';
import type { IntercomMe } from '../intercom/client.ts';
import { HOUR_MS } from '../time.ts';
import { readSettings, type WorkspaceSettings } from './settings.ts';

export type Region = WorkspaceRow['region'];

/** A person in Intercom who installed the app or is signed in. */
export interface Admin extends Actor {
  readonly email: string;
}

/** Intercom may not have a teammate's name. */
export function displayName({ id, name, email }: Actor & { readonly email?: string | null }): string {
  return name || email || id;
}

const PROPERTIES = [
  'workspaceId',
  'name',
  'region',
  'timezone',
  'accessToken',
  'status',
  'statusReason',
  'settings',
  'attributesReady',
  'identityVerification',
  'refusals',
  'checkedAt',
] as const;

export type StoredWorkspace = Readonly<Pick<WorkspaceRow, (typeof PROPERTIES)[number]>>;

export interface Workspace extends Omit<StoredWorkspace, 'settings'> {
  readonly settings: WorkspaceSettings;
}

export const WORKSPACE_COLUMNS = columnsOf(WorkspaceEntity, PROPERTIES);

export function toWorkspace(row: StoredWorkspace): Workspace {
  return { ...row, settings: readSettings(row.settings) };
}

/** SQL instead of TypeORM, because it may run on a replica, and for every delivery and every card. */
export async function readWorkspace(sql: Sql, workspaceId: string): Promise<Workspace | null> {
  const [row] = await sql.query<StoredWorkspace>(
    `select ${WORKSPACE_COLUMNS} from workspaces where workspace_id = $1`,
    [workspaceId],
    'read-workspace',
  );
  return row ? toWorkspace(row) : null;
}

/** A workspace that has the app; `null`: unknown, or uninstalled. */
export async function readInstalled(sql: Sql, workspaceId: string): Promise<Workspace | null> {
  const workspace = await readWorkspace(sql, workspaceId);
  return workspace?.status === 'uninstalled' ? null : workspace;
}

/** Intercom's details of a workspace. Its admins can change all of them there. */
export function describeWorkspace({ app }: IntercomMe) {
  return {
    name: app.name || app.id_code,
    timezone: knownZone(app.timezone),
    identityVerification: app.identity_verification,
  };
}

/** Serializes changes of one workspace's settings and projects until the transaction ends. */
export async function lockWorkspace(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query('select 1 from workspaces where workspace_id = $1 for update', [workspaceId]);
}

/** Stores a token; deliveries that waited for one become due. */
export async function storeInstallation(
  database: Transaction,
  installation: Pick<
    WorkspaceRow,
    'workspaceId' | 'name' | 'region' | 'timezone' | 'accessToken' | 'identityVerification'
  >,
): Promise<void> {
  const fresh = {
    status: 'connected' as const,
    statusReason: null,
    uninstalledAt: null,
    notBefore: null,
    disconnectedAt: null,
    refusals: {},
    reportedHealth: null,
  };
  await upsert(database, WorkspaceEntity, [{ ...installation, ...fresh }]);
  await notifyDelivery(database, installation.workspaceId);
}

/** Queues a contact look-up for all customers who wait for a contact. It runs as soon as deliveries continue. */
export async function lookUpContacts(sql: Sql, workspaceId: string): Promise<void> {
  await wakeSubscribers(sql, workspaceId, { set: WAKE_AND_RETRY, where: 's.waiting', values: [] });
}

/** A workspace with the token that Intercom refused or accepted. Matches nothing once a reinstall has replaced it. */
type ByToken = Pick<Workspace, 'workspaceId' | 'accessToken'>;

function byToken({ workspaceId, accessToken }: ByToken) {
  return { workspaceId, accessToken: accessToken ?? IsNull() };
}

/**
 * Marks a workspace whose token Intercom refuses: deliveries wait until an admin installs again.
 *
 * @returns whether this call disconnected it
 */
export function markDisconnected(database: Entities, workspace: ByToken, reason: string): Promise<boolean> {
  return updateRows(
    database,
    WorkspaceEntity,
    { ...byToken(workspace), status: 'connected' },
    { status: 'disconnected', statusReason: reason, disconnectedAt: () => 'now()' },
  );
}

/**
 * Reconnects a workspace whose refused token Intercom accepts again: waiting deliveries become due.
 *
 * @returns whether the workspace was disconnected
 */
export async function markReconnected(database: Transaction, workspace: ByToken): Promise<boolean> {
  const isNew = await updateRows(
    database,
    WorkspaceEntity,
    { ...byToken(workspace), status: 'disconnected' },
    { status: 'connected', statusReason: null, disconnectedAt: null, notBefore: null },
  );
  if (isNew) await notifyDelivery(database, workspace.workspaceId);
  return isNew;
}

/**
 * Deletes everything that gives access: the token, the Messenger secret, RevenueCat keys, API keys and sessions.
 * The other data is kept for 30 days in case the app is installed again.
 *
 * @returns whether the workspace still had that token
 */
export async function deleteAccess(database: Database, workspace: ByToken): Promise<boolean> {
  const { workspaceId } = workspace;
  return database.transaction(async (sql) => {
    const isDeleted = await updateRows(sql, WorkspaceEntity, byToken(workspace), {
      accessToken: null,
      messengerSecret: null,
      status: 'uninstalled',
      uninstalledAt: () => 'now()',
    });
    if (!isDeleted) return false;
    const { manager } = sql;
    await manager.update(
      ProjectEntity,
      { workspaceId },
      { apiKey: null, apiKeyState: 'none', missingScopes: [] },
    );
    await manager.delete(SessionEntity, { workspaceId });
    await manager.delete(ApiKeyEntity, { workspaceId });
    return true;
  });
}

/** Replaces the given sections of the settings. Concurrent changes to other sections are kept. */
export async function saveSettings(
  sql: Sql,
  workspaceId: string,
  sections: Partial<WorkspaceSettings>,
): Promise<void> {
  await sql.query(`update workspaces set settings = settings || $2::jsonb where workspace_id = $1`, [
    workspaceId,
    JSON.stringify(sections),
  ]);
}

export async function listInstalled(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces where status <> 'uninstalled' order by workspace_id`,
  );
  return rows.map((row) => row.workspace_id);
}

export function listAbandoned(sql: Sql, afterDays: number): Promise<ByToken[]> {
  return sql.query<ByToken>(
    `select ${columnsOf(WorkspaceEntity, ['workspaceId', 'accessToken'])} from workspaces
      where status = 'disconnected' and disconnected_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
}

/** Erases workspaces that uninstalled the app more than `afterDays` ago, each in one transaction. */
export async function eraseUninstalled(database: Database, afterDays: number): Promise<string[]> {
  const erased: string[] = [];
  const candidates = await database.query<{ workspace_id: string }>(
    `select workspace_id from workspaces
      where status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
  for (const { workspace_id: workspaceId } of candidates) {
    const isErased = await database.transaction((sql) => eraseWorkspace(sql, workspaceId, afterDays), {
      // One statement that deletes millions of rows takes minutes.
      statementTimeoutMs: HOUR_MS,
    });
    if (isErased) erased.push(workspaceId);
  }
  return erased;
}

async function eraseWorkspace(sql: Sql, workspaceId: string, afterDays: number): Promise<boolean> {
  // Locks and checks again, because an admin may be reinstalling the app right now.
  const still = await sql.query(
    `select 1 from workspaces
      where workspace_id = $1 and status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $2)
        for update`,
    [workspaceId, afterDays],
  );
  if (still.length === 0) return false;
  for (const table of WORKSPACE_TABLES)
    await sql.query(`delete from ${table} where workspace_id = $1`, [workspaceId]);
  return true;
}
