import { randomBytes } from 'node:crypto';
import type { Database, Sql } from '../database/sql.ts';
import { badRequest, notFound } from '../errors.ts';
import { hashSecret, newSecret, type SecretBox, secretLocation } from './secrets.ts';
import { lockWorkspace, readWorkspace } from './store.ts';

/** A RevenueCat project that a workspace has connected. */
export interface Project {
  readonly workspaceId: string;
  /** Our own id, part of the webhook's address: the workspace's id, a dash and a random part. */
  readonly projectId: string;
  readonly revenueCatProjectId: string;
  readonly name: string;
  /** Encrypted; `null`: webhooks only, or disconnected. */
  readonly apiKey: string | null;
  readonly apiKeyState: 'none' | 'unchecked' | 'valid' | 'rejected';
  /** Permissions that the key lacked when it was last checked, by RevenueCat's names. */
  readonly missingScopes: readonly string[];
  /** Empty: disconnected. No secret has an empty hash, so every webhook is refused. */
  readonly webhookAuthHash: string;
  /** Encrypted; `null`: none, or disconnected. */
  readonly signingSecret: string | null;
  readonly webhookId: string | null;
  readonly lastReceivedAt: Date | null;
  /** The last webhook that was refused, if none has been accepted since. */
  readonly refusedWebhook: RefusedWebhook | null;
}

export interface RefusedWebhook {
  readonly at: Date;
  /** What did not match. */
  readonly refusedFor: 'authorization' | 'signature';
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
  /** A text when the row comes as JSON. */
  last_received_at: Date | string | null;
  last_refused_at: Date | string | null;
  refused_for: string | null;
}

export const PROJECT_COLUMNS = `workspace_id, project_id, revenuecat_project_id, name, api_key, api_key_state,
  missing_scopes, webhook_auth_hash, signing_secret, webhook_id, last_received_at, last_refused_at, refused_for`;

export function toProject(row: ProjectRow): Project {
  const isConnected = row.webhook_auth_hash !== '';
  const lastReceivedAt = toDate(row.last_received_at);
  return {
    workspaceId: row.workspace_id,
    projectId: row.project_id,
    revenueCatProjectId: row.revenuecat_project_id,
    name: row.name,
    apiKey: isConnected ? row.api_key : null,
    apiKeyState: isConnected ? row.api_key_state : 'none',
    missingScopes: row.missing_scopes,
    webhookAuthHash: row.webhook_auth_hash,
    signingSecret: isConnected ? row.signing_secret : null,
    webhookId: row.webhook_id,
    lastReceivedAt,
    refusedWebhook: toRefusedWebhook(row, lastReceivedAt),
  };
}

function toRefusedWebhook(row: ProjectRow, lastReceivedAt: Date | null): RefusedWebhook | null {
  const at = toDate(row.last_refused_at);
  if (at === null || (lastReceivedAt !== null && lastReceivedAt >= at)) return null;
  return { at, refusedFor: row.refused_for === 'signature' ? 'signature' : 'authorization' };
}

function toDate(value: Date | string | null): Date | null {
  return value === null ? null : new Date(value);
}

/** The workspace that a project id names; `null`: not a project id. */
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

export interface Connection {
  readonly id: string;
  readonly webhookUrl: string;
  /** Shown now and never again: only its hash is stored. */
  readonly webhookAuthorization: string;
}

/** Neither a dash nor look-alikes: the part after the last dash of a project id. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

function newProjectSuffix(): string {
  return Array.from(randomBytes(10), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
}

/** RevenueCat's secret keys of API version 2 begin like this. Version 1's do too, and version 2 refuses them. */
export function looksLikeSecretKey(text: string): boolean {
  return /^(sk|atk)_[\w-]{1,400}$/.test(text);
}

/** `proj…`, or the same without its prefix as in the dashboard's addresses. */
export function isProjectId(text: string): boolean {
  return /^[\w-]{1,100}$/.test(text);
}

/** The dashboard's addresses show a project's id without its prefix (`57cf58e0`); the API requires it. */
function withPrefix(projectId: string): string {
  return /^[0-9a-f]{8}$/.test(projectId) ? `proj${projectId}` : projectId;
}

export const INVALID_PROJECT_ID =
  'Invalid project ID. It looks like proj1ab2c3d4; copy it in RevenueCat under Project settings.';
export const INVALID_SECRET_KEY =
  'A secret API key begins with sk_. Public keys (appl_, goog_ and others) do not work here.';

/**
 * Connects a RevenueCat project to a workspace without calling RevenueCat. Connecting a project again keeps its id
 * and webhook address, and replaces the key and the authorization value.
 *
 * @param input.apiKey `null`: webhooks only; a key that was stored before stays
 * @throws AppError `bad_request` for a malformed key or project id, `not_found` when the app is not installed
 */
export async function connectProject(
  deps: { database: Database; secrets: SecretBox; publicUrl: string },
  input: { workspaceId: string; revenueCatProjectId: string; apiKey: string | null; name: string | null },
): Promise<Connection> {
  const { workspaceId } = input;
  const revenueCatProjectId = withPrefix(input.revenueCatProjectId);
  if (!isProjectId(revenueCatProjectId)) throw badRequest(INVALID_PROJECT_ID);
  if (input.apiKey !== null && !looksLikeSecretKey(input.apiKey)) throw badRequest(INVALID_SECRET_KEY);
  const webhookAuthorization = newSecret('whk_');
  const id = await deps.database.transaction(async (sql) => {
    const workspace = await readWorkspace(sql, workspaceId);
    if (!workspace || workspace.status === 'uninstalled') {
      throw notFound(
        `Workspace ${workspaceId} has not installed the app. Install it at ${deps.publicUrl}/install first.`,
      );
    }
    // Two concurrent connections would otherwise create the project twice.
    await lockWorkspace(sql, workspaceId);
    const [known] = await sql.query<{ project_id: string }>(
      `select project_id from projects where workspace_id = $1 and revenuecat_project_id = $2`,
      [workspaceId, revenueCatProjectId],
    );
    const projectId = known?.project_id ?? `${workspaceId}-${newProjectSuffix()}`;
    const apiKey =
      input.apiKey && deps.secrets.encrypt(input.apiKey, secretLocation.apiKey(workspaceId, projectId));
    await sql.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, api_key, api_key_state,
                             webhook_auth_hash)
       values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (workspace_id, project_id) do update
          set name = excluded.name, api_key = coalesce(excluded.api_key, projects.api_key),
              api_key_state = case when excluded.api_key is null then projects.api_key_state else 'unchecked' end,
              webhook_auth_hash = excluded.webhook_auth_hash, last_refused_at = null,
              disconnected_at = null, disconnected_auth_hash = null`,
      [
        workspaceId,
        projectId,
        revenueCatProjectId,
        input.name ?? revenueCatProjectId,
        apiKey,
        apiKey ? 'unchecked' : 'none',
        hashSecret(webhookAuthorization),
      ],
    );
    return projectId;
  });
  return { id, webhookUrl: webhookUrl(deps.publicUrl, id), webhookAuthorization };
}

export function webhookUrl(publicUrl: string, projectId: string): string {
  return `${publicUrl}/webhooks/revenuecat/${projectId}`;
}

/** Replaces the key of a connected project, and nothing else: its webhook stays as it is. */
export async function replaceApiKey(
  deps: { database: Database; secrets: SecretBox },
  project: Pick<Project, 'workspaceId' | 'projectId'>,
  apiKey: string,
): Promise<void> {
  const { workspaceId, projectId } = project;
  await deps.database.query(
    `update projects set api_key = $3, api_key_state = 'unchecked' where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId, deps.secrets.encrypt(apiKey, secretLocation.apiKey(workspaceId, projectId))],
  );
}

/** Replaces the webhook's authorization value. @returns the new one, of which only the hash is stored */
export async function replaceWebhookAuthorization(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<string> {
  const webhookAuthorization = newSecret('whk_');
  await sql.query(
    `update projects set webhook_auth_hash = $3, last_refused_at = null
      where workspace_id = $1 and project_id = $2 and webhook_auth_hash <> ''`,
    [workspaceId, projectId, hashSecret(webhookAuthorization)],
  );
  return webhookAuthorization;
}

/**
 * Disconnects a project: its webhooks are refused and its key is not used. Its secrets are deleted a day later,
 * so that it can be undone until then. The row stays because its events belong to it.
 */
export async function disconnectProject(sql: Sql, workspaceId: string, projectId: string): Promise<boolean> {
  const rows = await sql.query(
    `update projects
        set disconnected_at = now(), disconnected_auth_hash = webhook_auth_hash, webhook_auth_hash = ''
      where workspace_id = $1 and project_id = $2 and webhook_auth_hash <> ''
     returning 1`,
    [workspaceId, projectId],
  );
  return rows.length > 0;
}

export const UNDO_HOURS = 24;

/** Projects that were disconnected less than a day ago. */
export async function listDisconnected(
  sql: Sql,
  workspaceId: string,
): Promise<{ projectId: string; name: string; undoUntil: Date }[]> {
  const rows = await sql.query<{ project_id: string; name: string; undo_until: Date }>(
    `select project_id, name, disconnected_at + make_interval(hours => $2) as undo_until from projects
      where workspace_id = $1 and disconnected_at > now() - make_interval(hours => $2)
      order by disconnected_at desc`,
    [workspaceId, UNDO_HOURS],
  );
  return rows.map((row) => ({ projectId: row.project_id, name: row.name, undoUntil: row.undo_until }));
}

/** Undoes a disconnection. @returns whether it could still be undone */
export async function reconnectProject(sql: Sql, workspaceId: string, projectId: string): Promise<boolean> {
  const rows = await sql.query(
    `update projects
        set webhook_auth_hash = disconnected_auth_hash, disconnected_at = null, disconnected_auth_hash = null
      where workspace_id = $1 and project_id = $2 and disconnected_at > now() - make_interval(hours => $3)
     returning 1`,
    [workspaceId, projectId, UNDO_HOURS],
  );
  return rows.length > 0;
}

/** Deletes the secrets of projects whose disconnection can no longer be undone. */
export async function deleteDisconnectedSecrets(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update projects
        set api_key = null, api_key_state = 'none', missing_scopes = '[]', signing_secret = null,
            webhook_id = null, disconnected_at = null, disconnected_auth_hash = null
      where workspace_id = $1 and disconnected_at < now() - make_interval(hours => $2)`,
    [workspaceId, UNDO_HOURS],
  );
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

/** @param encrypted `null`: webhooks need no signature */
export async function setSigningSecret(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  encrypted: string | null,
): Promise<void> {
  await sql.query(
    `update projects set signing_secret = $3, last_refused_at = null where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId, encrypted],
  );
}

/** @returns whether the state has changed */
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

/** @param scopes those that the project's key lacks */
export async function setMissingScopes(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  scopes: readonly string[],
): Promise<void> {
  await sql.query(`update projects set missing_scopes = $3 where workspace_id = $1 and project_id = $2`, [
    workspaceId,
    projectId,
    JSON.stringify(scopes),
  ]);
}
