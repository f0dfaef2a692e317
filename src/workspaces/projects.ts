import { type FindOptionsWhere, Not, type QueryDeepPartialEntity } from 'typeorm';
import { columnsOf, ProjectEntity, type ProjectRow, updateRows } from '../database/entities.ts';
import type { Entities, Sql } from '../database/sql.ts';

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

/** The part of a webhook that did not match. */
export type WebhookMismatch = NonNullable<ProjectRow['refusedFor']>;

export const PROJECT_COLUMNS = columnsOf(ProjectEntity);

/** @param row its times are strings if it was read as JSON */
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
/** The same in SQL, for a project `p`. */
export const HAS_WORKING_KEY = `p.api_key is not null and p.api_key_state <> 'rejected'`;

/** The workspace ID that a project ID starts with; `null`: not a project ID. */
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

/** The connected projects, oldest first. SQL instead of TypeORM, because pages read from a replica. */
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

export function dashboardUrl({ revenueCatProjectId }: Project, appUserId: string): string {
  const projectId = revenueCatProjectId.replace(/^proj_?/, '');
  return `https://app.revenuecat.com/projects/${encodeForLink(projectId)}/customers/${encodeForLink(appUserId)}`;
}

/** Also escapes characters that would end a Markdown link or be read as Markdown. */
function encodeForLink(text: string): string {
  const code = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replaceAll(/[()*]/g, code);
}

/** @param condition must also be true of the project. @returns whether the project matched and was changed */
export function updateProject(
  database: Entities,
  { condition = {}, workspaceId, projectId }: ProjectKey & { condition?: FindOptionsWhere<ProjectRow> },
  changes: QueryDeepPartialEntity<ProjectRow>,
): Promise<boolean> {
  return updateRows(database, ProjectEntity, { ...condition, workspaceId, projectId }, changes);
}

/** In SQL, for a project `p`. */
export const IS_CONNECTED = `p.webhook_auth_hash <> ''`;

/**
 * @param project.apiKey the key that has this state; if it has been replaced since, nothing changes
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
