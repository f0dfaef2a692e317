import type { Sql } from '../database/sql.ts';
import { type Project, workspaceOfProject } from '../workspaces/projects.ts';

/** What decides whether a webhook is taken. */
export interface WebhookTarget
  extends Pick<Project, 'workspaceId' | 'projectId' | 'webhookAuthHash' | 'signingSecret'> {
  /** Whether the workspace has the app. */
  readonly isInstalled: boolean;
}

/** `null`: there is no such project. */
export async function readWebhookTarget(sql: Sql, projectId: string): Promise<WebhookTarget | null> {
  const workspaceId = workspaceOfProject(projectId);
  if (workspaceId === null) return null;
  const [row] = await sql.query<{
    webhook_auth_hash: string;
    signing_secret: string | null;
    installed: boolean;
  }>(
    `select p.webhook_auth_hash, p.signing_secret,
            exists (select 1 from workspaces w
                     where w.workspace_id = $1 and w.status <> 'uninstalled') as installed
       from projects p where p.workspace_id = $1 and p.project_id = $2`,
    [workspaceId, projectId],
    'read-webhook-target',
  );
  if (!row) return null;
  return {
    workspaceId,
    projectId,
    webhookAuthHash: row.webhook_auth_hash,
    signingSecret: row.signing_secret,
    isInstalled: row.installed,
  };
}
