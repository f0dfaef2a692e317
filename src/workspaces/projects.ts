import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { type FindOptionsWhere, LessThan, MoreThan, Not, type QueryDeepPartialEntity } from 'typeorm';
import { columnsOf, ProjectEntity, type ProjectRow, updateRows, upsert } from '../database/entities.ts';
import type { Database, Entities, Sql } from '../database/sql.ts';
import { DUE, wakeSubscribers } from '../database/wake-subscribers.ts';
import { badRequest, notFound } from '../errors.ts';
import { HOUR_MS } from '../time.ts';
import { lockWorkspace, readInstalled } from './repository.ts';
import { hashSecret, newSecret, type SecretBox, secretLocation } from './secrets.ts';

/** Where a project's row is, and what encrypts its secrets. */
interface Storage {
  readonly database: Database;
  readonly secrets: SecretBox;
}

export interface ProjectKey {
  readonly workspaceId: string;
  readonly projectId: string;
}

/** A RevenueCat project that a workspace has connected; a disconnected one has neither key nor signing secret. */
export interface Project
  extends Readonly<
    Omit<ProjectRow, 'lastRefusedAt' | 'refusedFor' | 'disconnectedAt' | 'disconnectedAuthHash'>
  > {
  /** The last webhook that was refused, if none has been accepted since. */
  readonly refusedWebhook: { readonly at: Date; readonly refusedFor: WebhookMismatch } | null;
}

/** What of a webhook did not match. */
export type WebhookMismatch = NonNullable<ProjectRow['refusedFor']>;

export const PROJECT_COLUMNS = columnsOf(ProjectEntity);

/** @param row its times are texts when it comes as JSON */
export function toProject({ lastRefusedAt, refusedFor, ...row }: ProjectRow): Project {
  const lastReceivedAt = row.lastReceivedAt && new Date(row.lastReceivedAt);
  const at = lastRefusedAt && new Date(lastRefusedAt);
  const isRefused = at !== null && (lastReceivedAt === null || lastReceivedAt < at);
  const refusedWebhook = isRefused ? { at, refusedFor: refusedFor ?? 'authorization' } : null;
  const project = { ...row, createdAt: new Date(row.createdAt), lastReceivedAt, refusedWebhook };
  return row.webhookAuthHash === ''
    ? { ...project, apiKey: null, apiKeyState: 'none', signingSecret: null }
    : project;
}

export function hasWorkingKey({ apiKey, apiKeyState }: Project): boolean {
  return apiKey !== null && apiKeyState !== 'rejected';
}
/** The same in SQL, of a project `p`. */
export const HAS_WORKING_KEY = `p.api_key is not null and p.api_key_state <> 'rejected'`;

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

/** The connected ones, oldest first. By SQL: pages read them from a replica. */
export async function listProjects(sql: Sql, workspaceId: string): Promise<Project[]> {
  const rows = await sql.query<ProjectRow>(
    `select ${PROJECT_COLUMNS} from projects p
      where workspace_id = $1 and ${IS_CONNECTED} order by created_at, project_id`,
    [workspaceId],
    'list-projects',
  );
  return rows.map(toProject);
}

export interface WebhookTarget
  extends Pick<Project, 'workspaceId' | 'projectId' | 'webhookAuthHash' | 'signingSecret'> {
  readonly isInstalled: boolean;
}

/** @returns `null`: there is no such project */
export async function readWebhookTarget(sql: Sql, projectId: string): Promise<WebhookTarget | null> {
  const workspaceId = workspaceOfProject(projectId);
  if (workspaceId === null) return null;
  const [row] = await sql.query<WebhookTarget>(
    `select ${columnsOf(ProjectEntity, ['workspaceId', 'projectId', 'webhookAuthHash', 'signingSecret'])},
            exists (select 1 from workspaces w
                     where w.workspace_id = $1 and w.status <> 'uninstalled') as "isInstalled"
       from projects where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId],
    'read-webhook-target',
  );
  return row ?? null;
}

export interface Connection {
  readonly id: string;
  readonly webhookUrl: string;
  /** Shown now and never again: only its hash is stored. */
  readonly webhookAuthorization: string;
}

/** Neither a dash nor look-alikes: the part after the last dash of a project id. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

/** RevenueCat's secret keys of API version 2 begin like this. Version 1's do too, and version 2 refuses them. */
export function looksLikeSecretKey(text: string): boolean {
  return /^(sk|atk)_[\w-]{1,400}$/.test(text);
}

/** `proj…`, or the same without its prefix as in the dashboard's addresses. */
export function isProjectId(text: string): boolean {
  return /^[\w-]{1,100}$/.test(text);
}

/** The dashboard's addresses show a project's id without its prefix (`57cf58e0`); the API requires it. */
export function withPrefix(projectId: string): string {
  return /^[0-9a-f]{8}$/.test(projectId) ? `proj${projectId}` : projectId;
}

export function dashboardUrl({ revenueCatProjectId }: Project, appUserId: string): string {
  const projectId = revenueCatProjectId.replace(/^proj_?/, '');
  return `https://app.revenuecat.com/projects/${encodeForLink(projectId)}/customers/${encodeForLink(appUserId)}`;
}

/** Also without what ends or marks a Markdown link. */
function encodeForLink(text: string): string {
  const code = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replaceAll(/[()*]/g, code);
}

export const INVALID_PROJECT_ID =
  'Invalid project ID. It looks like proj1ab2c3d4; copy it in RevenueCat under Project settings.';
export const INVALID_SECRET_KEY =
  'A secret API key begins with sk_ and has no spaces or invisible characters. Public keys (appl_, goog_ and others) do not work here.';

/**
 * Connects a RevenueCat project to a workspace without calling RevenueCat. Connecting a project again keeps its id
 * and webhook address, and replaces the key and the authorization value.
 *
 * @param input.apiKey `null`: webhooks only; a key that was stored before stays
 * @param input.missingScopes of a key that was checked; left out: it was not
 * @param input.name blank or `null`: the stored one, or the project's id
 * @throws AppError `bad_request` for a malformed key or project id, `not_found` when the app is not installed
 */
export async function connectProject(
  deps: Storage & { readonly publicUrl: string },
  input: {
    workspaceId: string;
    revenueCatProjectId: string;
    apiKey: string | null;
    name: string | null;
    missingScopes?: readonly string[];
  },
): Promise<Connection> {
  const { workspaceId, apiKey, missingScopes } = input;
  const stateOfKey = missingScopes ? 'valid' : 'unchecked';
  const apiKeyState = apiKey === null ? 'none' : stateOfKey;
  const revenueCatProjectId = withPrefix(input.revenueCatProjectId);
  if (!isProjectId(revenueCatProjectId)) throw badRequest(INVALID_PROJECT_ID);
  if (apiKey !== null && !looksLikeSecretKey(apiKey)) throw badRequest(INVALID_SECRET_KEY);
  const webhookAuthorization = newSecret('whk_');
  const id = await deps.database.transaction(async (sql) => {
    if (!(await readInstalled(sql, workspaceId)))
      throw notFound(
        `Workspace ${workspaceId} has not installed the app. Install it at ${deps.publicUrl}/install first.`,
      );
    // Two concurrent connections would otherwise create the project twice.
    await lockWorkspace(sql, workspaceId);
    const known = await sql.manager.findOneBy(ProjectEntity, { workspaceId, revenueCatProjectId });
    const suffix = Array.from(randomBytes(10), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
    const projectId = known?.projectId ?? `${workspaceId}-${suffix}`;
    const key = apiKey && deps.secrets.encrypt(apiKey, secretLocation.apiKey(workspaceId, projectId));
    await upsert(sql, ProjectEntity, [
      {
        workspaceId,
        projectId,
        revenueCatProjectId,
        name: input.name || (known?.name ?? revenueCatProjectId),
        webhookAuthHash: hashSecret(webhookAuthorization),
        lastRefusedAt: null,
        disconnectedAt: null,
        ...(key || !known ? { apiKey: key, apiKeyState, missingScopes: missingScopes ?? [] } : {}),
      },
    ]);
    return projectId;
  });
  return { id, webhookUrl: webhookUrl(deps.publicUrl, id), webhookAuthorization };
}

/**
 * Has attributes written that changed while the project was disconnected: deliveries left them as they were. Of a
 * million customers it takes too long; the project is connected all the same.
 */
export async function wakeCustomers(
  { database, logger }: { readonly database: Database; readonly logger: Logger },
  { workspaceId, projectId }: ProjectKey,
): Promise<void> {
  const where = 's.project_id = $2 and s.contact_id is not null';
  await wakeSubscribers(database, workspaceId, { set: DUE, where, values: [projectId] }).catch((error) =>
    logger.warn(
      { err: error, workspaceId, projectId },
      'could not wake the customers of a connected project: attributes follow with their next events',
    ),
  );
}

export function webhookUrl(publicUrl: string, projectId: string): string {
  return `${publicUrl}/webhooks/revenuecat/${projectId}`;
}

/** @param condition what else must be true of the project. @returns whether it was, and has been changed */
export function updateProject(
  database: Entities,
  { condition = {}, workspaceId, projectId }: ProjectKey & { condition?: FindOptionsWhere<ProjectRow> },
  changes: QueryDeepPartialEntity<ProjectRow>,
): Promise<boolean> {
  return updateRows(database, ProjectEntity, { ...condition, workspaceId, projectId }, changes);
}

const isConnected = { webhookAuthHash: Not('') };
/** The same in SQL, of a project `p`. */
export const IS_CONNECTED = `p.webhook_auth_hash <> ''`;

/** Stores a key that RevenueCat has accepted, and nothing else: the project's webhook stays as it is. */
export async function storeApiKey(
  { database, secrets }: Storage,
  project: ProjectKey,
  { apiKey, missingScopes }: { apiKey: string; missingScopes: readonly string[] },
): Promise<void> {
  const encrypted = secrets.encrypt(apiKey, secretLocation.apiKey(project.workspaceId, project.projectId));
  await updateProject(database, project, { apiKey: encrypted, apiKeyState: 'valid', missingScopes });
}

/** Replaces the webhook's authorization value. @returns the new one, of which only the hash is stored */
export async function replaceWebhookAuthorization(database: Entities, project: ProjectKey): Promise<string> {
  const webhookAuthorization = newSecret('whk_');
  await updateProject(
    database,
    { ...project, condition: isConnected },
    { webhookAuthHash: hashSecret(webhookAuthorization), lastRefusedAt: null },
  );
  return webhookAuthorization;
}

/**
 * Disconnects a project: its webhooks are refused and its key is not used. Its secrets are deleted a day later,
 * so that it can be undone until then. The row stays because its events belong to it.
 */
export function disconnectProject(database: Entities, project: ProjectKey): Promise<boolean> {
  return updateProject(
    database,
    { ...project, condition: isConnected },
    { disconnectedAt: () => 'now()', disconnectedAuthHash: () => 'webhook_auth_hash', webhookAuthHash: '' },
  );
}

const UNDO_HOURS = 24;
const undoableSince = (): Date => new Date(Date.now() - UNDO_HOURS * HOUR_MS);

/** Projects that were disconnected less than a day ago. */
export async function listDisconnected(
  { manager }: Entities,
  workspaceId: string,
): Promise<{ projectId: string; name: string; undoUntil: Date }[]> {
  const found = await manager.find(ProjectEntity, {
    where: { workspaceId, disconnectedAt: MoreThan(undoableSince()) },
    order: { disconnectedAt: 'desc' },
  });
  return found.map(({ projectId, name, disconnectedAt }) => ({
    projectId,
    name,
    undoUntil: new Date((disconnectedAt?.getTime() ?? 0) + UNDO_HOURS * HOUR_MS),
  }));
}

/** Undoes a disconnection. @returns whether it could still be undone */
export function reconnectProject(database: Entities, project: ProjectKey): Promise<boolean> {
  return updateProject(
    database,
    { ...project, condition: { disconnectedAt: MoreThan(undoableSince()) } },
    {
      webhookAuthHash: () => 'disconnected_auth_hash',
      disconnectedAt: null,
      disconnectedAuthHash: null,
      // What came since was refused for the disconnection, and not for its value.
      lastRefusedAt: null,
    },
  );
}

/** Deletes the secrets of projects whose disconnection can no longer be undone. */
export async function deleteDisconnectedSecrets({ manager }: Entities, workspaceId: string): Promise<void> {
  await manager.update(
    ProjectEntity,
    { workspaceId, disconnectedAt: LessThan(undoableSince()) },
    {
      apiKey: null,
      apiKeyState: 'none',
      missingScopes: [],
      signingSecret: null,
      webhookId: null,
      disconnectedAt: null,
      disconnectedAuthHash: null,
    },
  );
}

/**
 * @param project.apiKey the key that has this state; one that has replaced it since keeps its own
 * @returns whether the state has changed
 */
export function setApiKeyState(
  database: Entities,
  project: ProjectKey & Partial<Pick<Project, 'apiKey'>>,
  state: Project['apiKeyState'],
): Promise<boolean> {
  const { apiKey } = project;
  const condition = { apiKeyState: Not(state), ...(apiKey ? { apiKey } : {}) };
  return updateProject(database, { ...project, condition }, { apiKeyState: state });
}
