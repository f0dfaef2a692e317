import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { LessThan, MoreThan, Not } from 'typeorm';
import { ProjectEntity, upsert } from '../database/entities.ts';
import type { Database, Entities } from '../database/sql.ts';
import { WAKE, wakeSubscribers } from '../database/wake-subscribers.ts';
import { badRequest, notFound } from '../errors.ts';
import { HOUR_MS } from '../time.ts';
import type { DatabaseAndClock } from './app-context.ts';
import { type ProjectKey, updateProject } from './projects.ts';
import { lockWorkspace, readInstalled } from './repository.ts';
import { hashSecret, newSecret, type SecretBox, secretLocation } from './secrets.ts';

/** The database with the project's row, and the keys that encrypt its secrets. */
interface Storage {
  readonly database: Database;
  readonly secrets: SecretBox;
}

export interface Connection {
  readonly id: string;
  readonly webhookUrl: string;
  /** Shown now and never again: only its hash is stored. */
  readonly webhookAuthorization: string;
}

/** For the part of a project ID after its last dash: contains neither a dash nor characters that look alike. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

/** Secret keys of RevenueCat's API version 2 begin like this. So do those of version 1, which version 2 refuses. */
export function looksLikeSecretKey(text: string): boolean {
  return /^(sk|atk)_[\w-]{1,400}$/.test(text);
}

/** Accepts `proj…`, and an ID without that prefix, as the dashboard's URLs have it. */
export function isProjectId(text: string): boolean {
  return /^[\w-]{1,100}$/.test(text);
}

/** The dashboard's URLs have a project's ID without its prefix (`57cf58e0`), which the API requires. */
export function withPrefix(projectId: string): string {
  return /^[0-9a-f]{8}$/.test(projectId) ? `proj${projectId}` : projectId;
}

export const INVALID_PROJECT_ID =
  'Invalid project ID. It looks like proj1ab2c3d4; copy it in RevenueCat under Project settings.';
export const INVALID_SECRET_KEY =
  'A secret API key begins with sk_ and has no spaces or invisible characters. Public keys (appl_, goog_ and others) do not work here.';

/**
 * Connects a RevenueCat project to a workspace without calling RevenueCat. Connecting a project again keeps its id
 * and webhook address, and replaces the key and the authorization value.
 *
 * @param input.apiKey `null`: webhooks only; a key that is already stored is kept
 * @param input.missingScopes the permissions that the key lacks; left out: the key was not checked
 * @param input.name blank or `null`: the stored name is kept, and a new project is named after its ID
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
    const stored = await sql.manager.findOneBy(ProjectEntity, { workspaceId, revenueCatProjectId });
    const suffix = Array.from(randomBytes(10), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
    const projectId = stored?.projectId ?? `${workspaceId}-${suffix}`;
    const key = apiKey && deps.secrets.encrypt(apiKey, secretLocation.apiKey(workspaceId, projectId));
    await upsert(sql, ProjectEntity, [
      {
        workspaceId,
        projectId,
        revenueCatProjectId,
        name: input.name || (stored?.name ?? revenueCatProjectId),
        webhookAuthHash: hashSecret(webhookAuthorization),
        lastRefusedAt: null,
        disconnectedAt: null,
        ...(key || !stored ? { apiKey: key, apiKeyState, missingScopes: missingScopes ?? [] } : {}),
      },
    ]);
    return projectId;
  });
  return { id, webhookUrl: webhookUrl(deps.publicUrl, id), webhookAuthorization };
}

/**
 * Wakes the project's customers, because deliveries wrote none of their attributes while it was disconnected. With a
 * million customers the statement takes too long and fails, but the project is connected all the same.
 */
export async function wakeCustomers(
  { database, logger }: { readonly database: Database; readonly logger: Logger },
  { workspaceId, projectId }: ProjectKey,
): Promise<void> {
  const where = 's.project_id = $2 and s.contact_id is not null';
  await wakeSubscribers(database, workspaceId, { set: WAKE, where, values: [projectId] }).catch((error) =>
    logger.warn(
      { err: error, workspaceId, projectId },
      'could not wake the customers of a connected project: attributes follow with their next events',
    ),
  );
}

export function webhookUrl(publicUrl: string, projectId: string): string {
  return `${publicUrl}/webhooks/revenuecat/${projectId}`;
}

const isConnected = { webhookAuthHash: Not('') };

/** Stores a key that RevenueCat has accepted, and nothing else: the project's webhook stays as it is. */
export async function storeApiKey(
  { database, secrets }: Storage,
  project: ProjectKey,
  { apiKey, missingScopes }: { apiKey: string; missingScopes: readonly string[] },
): Promise<void> {
  const encrypted = secrets.encrypt(apiKey, secretLocation.apiKey(project.workspaceId, project.projectId));
  await updateProject(database, project, { apiKey: encrypted, apiKeyState: 'valid', missingScopes });
}

/** Replaces the webhook's authorization value. @returns the new value; only its hash is stored */
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
const undoableSince = ({ now }: DatabaseAndClock): Date => new Date(now() - UNDO_HOURS * HOUR_MS);

/** Projects that were disconnected less than a day ago. */
export async function listDisconnected(
  app: DatabaseAndClock,
  workspaceId: string,
): Promise<{ projectId: string; name: string; undoUntil: Date }[]> {
  const found = await app.database.manager.find(ProjectEntity, {
    where: { workspaceId, disconnectedAt: MoreThan(undoableSince(app)) },
    order: { disconnectedAt: 'desc' },
  });
  return found.map(({ projectId, name, disconnectedAt }) => ({
    projectId,
    name,
    undoUntil: new Date((disconnectedAt?.getTime() ?? 0) + UNDO_HOURS * HOUR_MS),
  }));
}

/** Undoes a disconnection. @returns whether it could still be undone */
export function reconnectProject(app: DatabaseAndClock, project: ProjectKey): Promise<boolean> {
  return updateProject(
    app.database,
    { ...project, condition: { disconnectedAt: MoreThan(undoableSince(app)) } },
    {
      webhookAuthHash: () => 'disconnected_auth_hash',
      disconnectedAt: null,
      disconnectedAuthHash: null,
      // Webhooks since then were refused because of the disconnection, not because of a wrong authorization value.
      lastRefusedAt: null,
    },
  );
}

/** Deletes the secrets of projects whose disconnection can no longer be undone. */
export async function deleteDisconnectedSecrets(app: DatabaseAndClock, workspaceId: string): Promise<void> {
  await app.database.manager.update(
    ProjectEntity,
    { workspaceId, disconnectedAt: LessThan(undoableSince(app)) },
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
