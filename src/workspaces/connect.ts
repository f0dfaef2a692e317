import { randomBytes } from 'node:crypto';
import type { Database } from '../database/sql.ts';
import { badRequest, notFound } from '../errors.ts';
import { isProjectId, looksLikeSecretKey } from './api-key.ts';
import { hashSecret, newSecret, type SecretBox, secretLocation } from './secrets.ts';
import { readWorkspace } from './store.ts';

export interface Connection {
  readonly id: string;
  readonly webhookUrl: string;
  /** Shown now and never again: only its hash is stored. */
  readonly webhookAuthorization: string;
}

/** No dash and no look-alikes: the part after the last dash of a project id. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

function newProjectSuffix(): string {
  return Array.from(randomBytes(10), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
}

/** The dashboard's addresses show a project's id without its prefix (`57cf58e0`); the API wants it. */
function withPrefix(projectId: string): string {
  return /^[0-9a-f]{8}$/.test(projectId) ? `proj${projectId}` : projectId;
}

/**
 * Connects a RevenueCat project to a workspace without asking RevenueCat. Connecting it again keeps its id and
 * webhook address, and replaces the key and the authorization value.
 *
 * @param input.apiKey `null`: webhooks alone; a key that was stored before stays
 * @throws AppError `bad_request` for what can be no key or project id, `not_found` when the workspace has not
 *   installed the app
 */
export async function connectProject(
  deps: { database: Database; secrets: SecretBox; publicUrl: string },
  input: { workspaceId: string; revenueCatProjectId: string; apiKey: string | null; name: string | null },
): Promise<Connection> {
  const { workspaceId } = input;
  const revenueCatProjectId = withPrefix(input.revenueCatProjectId);
  if (!isProjectId(revenueCatProjectId))
    throw badRequest(
      'That is no project ID. It looks like proj1ab2c3d4, in RevenueCat under Project settings.',
    );
  if (input.apiKey !== null && !looksLikeSecretKey(input.apiKey))
    throw badRequest(
      'A secret API key begins with sk_. Public keys (appl_, goog_ and others) do not work here.',
    );
  const webhookAuthorization = newSecret('whk_');
  const id = await deps.database.transaction(async (sql) => {
    const workspace = await readWorkspace(sql, workspaceId);
    if (!workspace || workspace.status === 'uninstalled') {
      throw notFound(
        `No workspace ${workspaceId} has the app installed: install it first at ${deps.publicUrl}/install`,
      );
    }
    // Two people connecting at once would otherwise make two of it.
    await sql.query('select 1 from workspaces where workspace_id = $1 for update', [workspaceId]);
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
              webhook_auth_hash = excluded.webhook_auth_hash, last_refused_at = null, refused_for = null`,
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
  return { id, webhookUrl: `${deps.publicUrl}/webhooks/revenuecat/${id}`, webhookAuthorization };
}
