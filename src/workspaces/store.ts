import type { Sql } from '../database/sql.ts';
import { readSettings, type WorkspaceSettings } from './settings.ts';

export type Region = 'US' | 'EU' | 'AU';

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
}

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
  readonly webhookAuthHash: string;
  /** Sealed. */
  readonly signingSecret: string | null;
  readonly webhookId: string | null;
  readonly lastReceivedAt: Date | null;
}

interface WorkspaceRow {
  workspace_id: string;
  name: string;
  region: string;
  timezone: string;
  access_token: string | null;
  status: Workspace['status'];
  status_reason: string | null;
  settings: unknown;
  attributes_ready: boolean;
}

const WORKSPACE_COLUMNS = `workspace_id, name, region, timezone, access_token, status, status_reason,
  settings, attributes_ready`;

function toWorkspace(row: WorkspaceRow): Workspace {
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

interface ProjectRow {
  workspace_id: string;
  project_id: string;
  revenuecat_project_id: string;
  name: string;
  api_key: string | null;
  api_key_state: Project['apiKeyState'];
  webhook_auth_hash: string;
  signing_secret: string | null;
  webhook_id: string | null;
  last_received_at: Date | null;
}

const PROJECT_COLUMNS = `workspace_id, project_id, revenuecat_project_id, name, api_key, api_key_state,
  webhook_auth_hash, signing_secret, webhook_id, last_received_at`;

function toProject(row: ProjectRow): Project {
  return {
    workspaceId: row.workspace_id,
    projectId: row.project_id,
    revenueCatProjectId: row.revenuecat_project_id,
    name: row.name,
    apiKey: row.api_key,
    apiKeyState: row.api_key_state,
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

/** Oldest first. */
export async function listProjects(sql: Sql, workspaceId: string): Promise<Project[]> {
  const rows = await sql.query<ProjectRow>(
    `select ${PROJECT_COLUMNS} from projects where workspace_id = $1 order by created_at, project_id`,
    [workspaceId],
    'list-projects',
  );
  return rows.map(toProject);
}

/** Contexts under which the secrets of a row are sealed. */
export const sealedAs = {
  accessToken: (workspaceId: string) => `workspace:${workspaceId}:access_token`,
  messengerSecret: (workspaceId: string) => `workspace:${workspaceId}:messenger_secret`,
  apiKey: (workspaceId: string, projectId: string) => `project:${workspaceId}:${projectId}:api_key`,
  signingSecret: (workspaceId: string, projectId: string) => `project:${workspaceId}:${projectId}:signing`,
};

/** Marks a workspace whose token Intercom refuses: deliveries wait until somebody installs again. */
export async function markDisconnected(sql: Sql, workspaceId: string, reason: string): Promise<void> {
  await sql.query(
    `update workspaces set status = 'disconnected', status_reason = $2
      where workspace_id = $1 and status = 'connected'`,
    [workspaceId, reason],
  );
}

export async function markAttributesReady(sql: Sql, workspaceId: string, ready: boolean): Promise<void> {
  await sql.query(`update workspaces set attributes_ready = $2 where workspace_id = $1`, [
    workspaceId,
    ready,
  ]);
}

export async function setApiKeyState(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  state: Project['apiKeyState'],
): Promise<void> {
  await sql.query(`update projects set api_key_state = $3 where workspace_id = $1 and project_id = $2`, [
    workspaceId,
    projectId,
    state,
  ]);
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
    installedBy: { id: string; name: string; email: string };
  },
): Promise<void> {
  await sql.query(
    `insert into workspaces (workspace_id, name, region, timezone, access_token, installed_by)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (workspace_id) do update
        set name = excluded.name, region = excluded.region, timezone = excluded.timezone,
            access_token = excluded.access_token, installed_by = excluded.installed_by, installed_at = now(),
            status = 'connected', status_reason = null, uninstalled_at = null, not_before = null`,
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

/** The token goes at once; the data is kept for a while, for a return. */
export async function forgetToken(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update workspaces
        set access_token = null, status = 'uninstalled', status_reason = 'uninstalled', uninstalled_at = now()
      where workspace_id = $1`,
    [workspaceId],
  );
  await sql.query(`delete from sessions where workspace_id = $1`, [workspaceId]);
}

/** Tables with a workspace's data, those that others point to last. */
const DATA_TABLES = [
  'sessions',
  'notifications',
  'audit_log',
  'grants',
  'catalog',
  'contact_links',
  'delivery_attempts',
  'events',
  'subscriber_ids',
  'subscribers',
  'projects',
  'workspaces',
];

/** Erases workspaces that were uninstalled before the cutoff (days ago). */
export async function eraseUninstalled(sql: Sql, afterDays: number): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select workspace_id from workspaces
      where status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
  for (const { workspace_id } of rows) {
    for (const table of DATA_TABLES) await sql.query(`delete from ${table} where workspace_id = $1`, [workspace_id]);
  }
  return rows.map((row) => row.workspace_id);
}

/** Keeps the hash of an OAuth state for as long as the browser may take. */
export async function saveOAuthState(sql: Sql, stateHash: string, purpose: string, minutes: number): Promise<void> {
  await sql.query(`delete from oauth_states where expires_at < now()`);
  await sql.query(
    `insert into oauth_states (state_hash, purpose, expires_at) values ($1, $2, now() + make_interval(mins => $3))`,
    [stateHash, purpose, minutes],
  );
}

/** Uses a state up; `null` when it is unknown, used or too old. */
export async function takeOAuthState(sql: Sql, stateHash: string): Promise<string | null> {
  const [row] = await sql.query<{ purpose: string; live: boolean }>(
    `delete from oauth_states where state_hash = $1 returning purpose, expires_at > now() as live`,
    [stateHash],
  );
  return row?.live ? row.purpose : null;
}
