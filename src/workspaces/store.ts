import { notifyDelivery } from '../database/notify.ts';
import type { Database, Sql } from '../database/sql.ts';
import { WORKSPACE_TABLES } from '../database/tables.ts';
import { readSettings, type WorkspaceSettings } from './settings.ts';

export type Region = 'US' | 'EU' | 'AU';

/** A person in Intercom who installed the app or is signed in. */
export interface Admin {
  readonly id: string;
  readonly name: string;
  readonly email: string;
}

/** An Intercom workspace that has (or had) the app installed. */
export interface Workspace {
  /** Intercom's `id_code`, which is also the `app_id` of webhooks and the `workspace_id` of Canvas Kit. */
  readonly workspaceId: string;
  readonly name: string;
  readonly region: Region;
  /** IANA name: `Europe/Dublin`. */
  readonly timezone: string;
  /** Encrypted; `null` after an uninstall. */
  readonly accessToken: string | null;
  readonly status: 'connected' | 'disconnected' | 'uninstalled';
  /** A failure code, shown in the settings. */
  readonly statusReason: string | null;
  readonly settings: WorkspaceSettings;
  readonly attributesReady: boolean;
  /** Whether Intercom lets only verified users into the Messenger; `null`: not known. */
  readonly identityVerification: boolean | null;
  /** What Intercom refuses because a permission or a plan is missing, by what was refused. */
  readonly refusals: Refusals;
  /** When both platforms last confirmed that they accept our access. */
  readonly checkedAt: Date | null;
}

/** What Intercom can refuse while it accepts everything else. */
export type RefusedWork = 'events' | 'contacts';

export interface Refusal {
  readonly code: 'intercom_scope_missing' | 'intercom_plan_restricted';
  /** Intercom's own message, which names the permission. */
  readonly message: string;
  /** UTC, ISO 8601. */
  readonly since: string;
}

export type Refusals = Readonly<Partial<Record<RefusedWork, Refusal>>>;

export interface WorkspaceRow {
  workspace_id: string;
  name: string;
  region: string;
  timezone: string;
  access_token: string | null;
  status: Workspace['status'];
  status_reason: string | null;
  settings: unknown;
  attributes_ready: boolean;
  identity_verification: boolean | null;
  refusals: Refusals;
  checked_at: Date | null;
}

export const WORKSPACE_COLUMNS = `workspace_id, name, region, timezone, access_token, status, status_reason,
  settings, attributes_ready, identity_verification, refusals, checked_at`;

export function toWorkspace(row: WorkspaceRow): Workspace {
  return {
    workspaceId: row.workspace_id,
    name: row.name,
    region: row.region === 'EU' || row.region === 'AU' ? row.region : 'US',
    timezone: row.timezone,
    accessToken: row.access_token,
    status: row.status,
    statusReason: row.status_reason,
    settings: readSettings(row.settings),
    attributesReady: row.attributes_ready,
    identityVerification: row.identity_verification,
    refusals: row.refusals,
    checkedAt: row.checked_at,
  };
}

export async function readWorkspace(sql: Sql, workspaceId: string): Promise<Workspace | null> {
  const [row] = await sql.query<WorkspaceRow>(
    `select ${WORKSPACE_COLUMNS} from workspaces where workspace_id = $1`,
    [workspaceId],
    'read-workspace',
  );
  return row ? toWorkspace(row) : null;
}

/** Serializes changes of one workspace's settings and projects until the transaction ends. */
export async function lockWorkspace(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query('select 1 from workspaces where workspace_id = $1 for update', [workspaceId]);
}

/** Stores a token; deliveries that waited for one become due. */
export async function storeInstallation(
  sql: Sql,
  installation: {
    workspaceId: string;
    name: string;
    region: Region;
    timezone: string;
    /** Encrypted. */
    accessToken: string;
    installedBy: Admin;
  },
): Promise<void> {
  await sql.query(
    `insert into workspaces (workspace_id, name, region, timezone, access_token, installed_by, installed_at)
     values ($1, $2, $3, $4, $5, $6, now())
     on conflict (workspace_id) do update
        set name = excluded.name, region = excluded.region, timezone = excluded.timezone,
            access_token = excluded.access_token, installed_by = excluded.installed_by,
            installed_at = excluded.installed_at, status = 'connected', status_reason = null, uninstalled_at = null,
            not_before = null, disconnected_at = null, refusals = '{}', health_told = null`,
    [
      installation.workspaceId,
      installation.name,
      installation.region,
      installation.timezone,
      installation.accessToken,
      JSON.stringify(installation.installedBy),
    ],
  );
  await notifyDelivery(sql, installation.workspaceId);
}

/**
 * Marks a workspace whose token Intercom refuses: deliveries wait until an admin installs again.
 *
 * @param encryptedToken the token that was refused; a newer one, stored by a reinstall, stays connected
 * @returns whether this call disconnected it
 */
export async function markDisconnected(
  sql: Sql,
  workspaceId: string,
  reason: string,
  encryptedToken: string,
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set status = 'disconnected', status_reason = $2, disconnected_at = now()
      where workspace_id = $1 and status = 'connected' and access_token = $3
     returning 1`,
    [workspaceId, reason, encryptedToken],
  );
  return rows.length > 0;
}

/**
 * A token that was refused is accepted again: what waited becomes due.
 *
 * @returns whether the workspace was disconnected
 */
export async function markReconnected(
  sql: Sql,
  workspaceId: string,
  encryptedToken: string,
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set status = 'connected', status_reason = null, disconnected_at = null, not_before = null
      where workspace_id = $1 and status = 'disconnected' and access_token = $2
     returning 1`,
    [workspaceId, encryptedToken],
  );
  if (rows.length === 0) return false;
  await notifyDelivery(sql, workspaceId);
  return true;
}

/**
 * Deletes everything that gives access: the token, the Messenger secret, RevenueCat keys, API keys and sessions.
 * The other data is kept for 30 days in case the app is installed again.
 *
 * @param encryptedToken the token that Intercom refused; a newer one, stored by a reinstall, stays
 * @returns whether it was still that token
 */
export async function deleteAccess(sql: Sql, workspaceId: string, encryptedToken: string): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set access_token = null, messenger_secret = null, status = 'uninstalled', status_reason = 'uninstalled',
            uninstalled_at = now(), refusals = '{}', health_told = null
      where workspace_id = $1 and access_token = $2
     returning 1`,
    [workspaceId, encryptedToken],
  );
  if (rows.length === 0) return false;
  await sql.query(
    `update projects set api_key = null, api_key_state = 'none', missing_scopes = '[]' where workspace_id = $1`,
    [workspaceId],
  );
  await sql.query(`delete from sessions where workspace_id = $1`, [workspaceId]);
  await sql.query(`delete from api_keys where workspace_id = $1`, [workspaceId]);
  return true;
}

export async function markAttributesReady(sql: Sql, workspaceId: string, ready: boolean): Promise<void> {
  await sql.query(`update workspaces set attributes_ready = $2 where workspace_id = $1`, [
    workspaceId,
    ready,
  ]);
}

/** @param enforced as `/me` says; `null`: it says nothing */
export async function setIdentityVerification(
  sql: Sql,
  workspaceId: string,
  enforced: boolean | null,
): Promise<void> {
  await sql.query(
    `update workspaces set identity_verification = $2
      where workspace_id = $1 and identity_verification is distinct from $2`,
    [workspaceId, enforced],
  );
}

/** Replaces one section of the settings and leaves the others as they are, also when they change concurrently. */
export async function saveSettings<Section extends keyof WorkspaceSettings>(
  sql: Sql,
  workspaceId: string,
  section: Section,
  value: WorkspaceSettings[Section],
): Promise<void> {
  await sql.query(
    `update workspaces set settings = jsonb_set(settings, array[$2], $3::jsonb) where workspace_id = $1`,
    [workspaceId, section, JSON.stringify(value)],
  );
}

/** The rules of matching have changed: all subscribers that wait for a contact are looked up again. */
export async function retryWaiting(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update subscribers set due_at = now(), version = version + 1, waiting = false, attempts = 0
      where workspace_id = $1 and waiting`,
    [workspaceId],
  );
  await notifyDelivery(sql, workspaceId);
}

/** All workspaces that have the app, for the daily check. */
export async function listInstalled(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces where status <> 'uninstalled' order by workspace_id`,
  );
  return rows.map((row) => row.workspace_id);
}

/** Workspaces that have been disconnected for more than `afterDays`. */
export async function listAbandoned(sql: Sql, afterDays: number): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces
      where status = 'disconnected' and disconnected_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
  return rows.map((row) => row.workspace_id);
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
    await database.transaction(async (sql) => {
      // Locked and checked again: it may be installed at this very time.
      const still = await sql.query(
        `select 1 from workspaces
          where workspace_id = $1 and status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $2)
            for update`,
        [workspaceId, afterDays],
      );
      if (still.length === 0) return;
      for (const table of WORKSPACE_TABLES) {
        await sql.query(`delete from ${table} where workspace_id = $1`, [workspaceId]);
      }
      erased.push(workspaceId);
    });
  }
  return erased;
}
