import type { Sql } from '../database/sql.ts';
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
  /** Sealed; `null` after an uninstall. */
  readonly accessToken: string | null;
  readonly status: 'connected' | 'disconnected' | 'uninstalled';
  /** A failure code, for people in the settings. */
  readonly statusReason: string | null;
  readonly settings: WorkspaceSettings;
  readonly attributesReady: boolean;
  /** Whether Intercom lets only verified users into the Messenger; `null`: not known. */
  readonly identityVerification: boolean | null;
  /** What Intercom refuses for want of a permission or of a plan, by what was refused. */
  readonly refusals: Refusals;
  /** When both platforms were last asked whether they accept our access. */
  readonly checkedAt: Date | null;
}

/** What Intercom may refuse while it takes everything else. */
export type RefusedWork = 'events' | 'contacts';

export interface Refusal {
  readonly code: 'intercom_scope_missing' | 'intercom_plan_restricted';
  /** Intercom's own words, which name the permission. */
  readonly message: string;
  /** UTC, ISO 8601. */
  readonly since: string;
}

export type Refusals = Readonly<Partial<Record<RefusedWork, Refusal>>>;

/** A RevenueCat project that a workspace has connected. */
export interface Project {
  readonly workspaceId: string;
  /** Ours, in the webhook's address: the workspace's id, a dash and a random part. */
  readonly projectId: string;
  readonly revenueCatProjectId: string;
  readonly name: string;
  /** Sealed; `null`: webhooks only. */
  readonly apiKey: string | null;
  readonly apiKeyState: 'none' | 'unchecked' | 'valid' | 'rejected';
  /** Permissions that the key lacked when it was last tried, as RevenueCat names them. */
  readonly missingScopes: readonly string[];
  readonly webhookAuthHash: string;
  /** Sealed. */
  readonly signingSecret: string | null;
  readonly webhookId: string | null;
  readonly lastReceivedAt: Date | null;
}

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

export interface ProjectRow {
  workspace_id: string;
  project_id: string;
  revenuecat_project_id: string;
  name: string;
  api_key: string | null;
  api_key_state: Project['apiKeyState'];
  missing_scopes: readonly string[];
  webhook_auth_hash: string;
  signing_secret: string | null;
  webhook_id: string | null;
  last_received_at: Date | null;
}

export const PROJECT_COLUMNS = `workspace_id, project_id, revenuecat_project_id, name, api_key, api_key_state,
  missing_scopes, webhook_auth_hash, signing_secret, webhook_id, last_received_at`;

export function toProject(row: ProjectRow): Project {
  return {
    workspaceId: row.workspace_id,
    projectId: row.project_id,
    revenueCatProjectId: row.revenuecat_project_id,
    name: row.name,
    apiKey: row.api_key,
    apiKeyState: row.api_key_state,
    missingScopes: row.missing_scopes,
    webhookAuthHash: row.webhook_auth_hash,
    signingSecret: row.signing_secret,
    webhookId: row.webhook_id,
    lastReceivedAt: row.last_received_at,
  };
}

/** The workspace that a project id names; `null` for a text that is no project id. */
export function workspaceOfProject(projectId: string): string | null {
  const dash = projectId.lastIndexOf('-');
  return dash > 0 ? projectId.slice(0, dash) : null;
}

export async function readProject(sql: Sql, workspaceId: string, projectId: string): Promise<Project | null> {
  const [row] = await sql.query<ProjectRow>(
    `select ${PROJECT_COLUMNS} from projects where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId],
    'read-project',
  );
  return row ? toProject(row) : null;
}

/** The connected ones, oldest first. */
export async function listProjects(sql: Sql, workspaceId: string): Promise<Project[]> {
  const rows = await sql.query<ProjectRow>(
    `select ${PROJECT_COLUMNS} from projects
      where workspace_id = $1 and webhook_auth_hash <> '' order by created_at, project_id`,
    [workspaceId],
    'list-projects',
  );
  return rows.map(toProject);
}

/**
 * Disconnects a project: its key and secrets go, its webhooks are refused. The row stays, because its events
 * belong to its id, and connecting the same RevenueCat project again brings them back. No secret has an empty
 * hash, so an empty one lets nothing in.
 */
export async function disconnectProject(sql: Sql, workspaceId: string, projectId: string): Promise<boolean> {
  const rows = await sql.query(
    `update projects
        set api_key = null, api_key_state = 'none', missing_scopes = '[]', signing_secret = null, webhook_id = null, webhook_auth_hash = ''
      where workspace_id = $1 and project_id = $2 and webhook_auth_hash <> ''
     returning 1`,
    [workspaceId, projectId],
  );
  return rows.length > 0;
}

export async function setWebhookId(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  webhookId: string | null,
): Promise<void> {
  await sql.query(`update projects set webhook_id = $3 where workspace_id = $1 and project_id = $2`, [
    workspaceId,
    projectId,
    webhookId,
  ]);
}

/** @param sealed `null`: webhooks need no signature */
export async function setSigningSecret(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  sealed: string | null,
): Promise<void> {
  await sql.query(`update projects set signing_secret = $3 where workspace_id = $1 and project_id = $2`, [
    workspaceId,
    projectId,
    sealed,
  ]);
}

/**
 * Marks a workspace whose token Intercom refuses: deliveries wait until somebody installs again.
 *
 * @param sealedToken the token that was refused: one that a reinstall has stored meanwhile stays connected
 * @returns whether this call disconnected it
 */
export async function markDisconnected(
  sql: Sql,
  workspaceId: string,
  reason: string,
  sealedToken: string,
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set status = 'disconnected', status_reason = $2, disconnected_at = now()
      where workspace_id = $1 and status = 'connected' and access_token = $3
     returning 1`,
    [workspaceId, reason, sealedToken],
  );
  return rows.length > 0;
}

/**
 * A token that was refused is accepted again: what waited becomes due.
 *
 * @param sealedToken the token that was accepted
 * @returns whether the workspace was disconnected
 */
export async function markReconnected(sql: Sql, workspaceId: string, sealedToken: string): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set status = 'connected', status_reason = null, disconnected_at = null, not_before = null
      where workspace_id = $1 and status = 'disconnected' and access_token = $2
     returning 1`,
    [workspaceId, sealedToken],
  );
  if (rows.length === 0) return false;
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
  return true;
}

export async function markAttributesReady(sql: Sql, workspaceId: string, ready: boolean): Promise<void> {
  await sql.query(`update workspaces set attributes_ready = $2 where workspace_id = $1`, [
    workspaceId,
    ready,
  ]);
}

/** @returns whether the state is another one now */
export async function setApiKeyState(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  state: Project['apiKeyState'],
): Promise<boolean> {
  const rows = await sql.query(
    `update projects set api_key_state = $3
      where workspace_id = $1 and project_id = $2 and api_key_state <> $3
     returning 1`,
    [workspaceId, projectId, state],
  );
  return rows.length > 0;
}

/** Stores a token; what waited while there was none becomes due. */
export async function storeInstallation(
  sql: Sql,
  installation: {
    workspaceId: string;
    name: string;
    region: Region;
    timezone: string;
    /** Sealed. */
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
            installed_at = excluded.installed_at, status = 'connected', status_reason = null, uninstalled_at = null, not_before = null,
            disconnected_at = null, refusals = '{}', health_told = null`,
    [
      installation.workspaceId,
      installation.name,
      installation.region,
      installation.timezone,
      installation.accessToken,
      JSON.stringify(installation.installedBy),
    ],
  );
  await sql.query(`select pg_notify('delivery', $1)`, [installation.workspaceId]);
}

/**
 * The token, the Messenger secret and the API keys go at once; the data is kept for a while, for a return.
 *
 * @param sealedToken the token that Intercom refused: one that a reinstall has stored meanwhile stays
 * @returns whether it was still that token
 */
export async function forgetToken(sql: Sql, workspaceId: string, sealedToken: string): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set access_token = null, messenger_secret = null, status = 'uninstalled', status_reason = 'uninstalled',
            uninstalled_at = now(), refusals = '{}', health_told = null
      where workspace_id = $1 and access_token = $2
     returning 1`,
    [workspaceId, sealedToken],
  );
  if (rows.length === 0) return false;
  await sql.query(`delete from sessions where workspace_id = $1`, [workspaceId]);
  await sql.query(`delete from api_keys where workspace_id = $1`, [workspaceId]);
  return true;
}

/** Replaces one section of the settings; the others are not touched, whoever changes them meanwhile. */
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

/** Looks again for the contacts of all subscribers that wait for one: the rules of finding them have changed. */
export async function wakeWaiting(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update subscribers set due_at = now(), version = version + 1, waiting = false, attempts = 0
      where workspace_id = $1 and waiting`,
    [workspaceId],
  );
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}
