import { isDeepStrictEqual } from 'node:util';
import { REFUSAL_CODES, type Refusal, updateRows, WorkspaceEntity } from '../database/entities.ts';
import { notifyDelivery } from '../database/notify.ts';
import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { withTimeout } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { listProjects, type Project, setApiKeyState, updateProject } from './projects.ts';
import { checkApiKey } from './revenuecat-key.ts';
import type { WorkspaceSettings } from './settings.ts';
import { markDisconnected, markReconnected, readInstalled, type Workspace } from './store.ts';

/** What Intercom can refuse while it accepts everything else. */
export type RefusedWork = keyof Workspace['refusals'];
export type Platform = 'Intercom' | 'RevenueCat';

/** A health check has a deadline: no call takes longer than this. */
const CALL_TIMEOUT_MS = 2_500;

/**
 * Calls both platforms to see whether they accept our access, and stores the result. Without this check an expired
 * token or key would be noticed only by the next event, which in a quiet workspace may be weeks away.
 *
 * @returns the platforms that did not answer: about those nothing new is known
 */
export async function checkWorkspace(context: AppContext, workspaceId: string): Promise<Platform[]> {
  const { database } = context;
  const workspace = await readInstalled(database, workspaceId);
  if (!workspace) return [];
  const projects = await listProjects(database, workspaceId);
  const [intercom, ...keys] = await Promise.all([
    checkToken(context, workspace),
    ...projects.map((project) => checkKey(context, project, workspace.settings)),
  ]);
  const silent: Platform[] = [];
  if (!intercom) silent.push('Intercom');
  if (keys.includes(false)) silent.push('RevenueCat');
  if (silent.length === 0)
    await updateRows(database, WorkspaceEntity, { workspaceId }, { checkedAt: () => 'now()' });
  return silent;
}

/** @returns whether Intercom answered */
async function checkToken(context: AppContext, workspace: Workspace): Promise<boolean> {
  const { database, logger } = context;
  const { workspaceId } = workspace;
  const client = context.intercom(workspace, { timeoutMs: CALL_TIMEOUT_MS });
  if (client === null) return true;
  try {
    const me = await client.me();
    const { identity_verification: identityVerification } = me.app;
    await updateRows(database, WorkspaceEntity, { workspaceId }, { identityVerification });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind !== 'reauthorize') return false;
    if (await markDisconnected(database, workspace, error.code))
      logger.error({ workspaceId, code: error.code }, 'Intercom refuses the token: deliveries wait');
    return true;
  }
  // A token can be suspended and become valid again.
  if (await markReconnected(database, workspace))
    logger.info({ workspaceId }, 'Intercom accepts the token again');
  return true;
}

/** @returns whether RevenueCat answered */
async function checkKey(
  context: AppContext,
  project: Project,
  settings: WorkspaceSettings,
): Promise<boolean> {
  const { database, logger } = context;
  const { workspaceId, projectId } = project;
  const client = context.revenueCat(project, { priority: 'unpaced', timeoutMs: CALL_TIMEOUT_MS });
  if (client === null) return true;
  const check = await checkApiKey(client, project.revenueCatProjectId, settings);
  if (check.outcome === 'unreachable') return false;
  const state = check.outcome === 'valid' ? 'valid' : 'rejected';
  if (await setApiKeyState(database, project, state))
    logger.info({ workspaceId, projectId, state }, 'state of the RevenueCat key changed');
  if (check.outcome === 'valid')
    await updateProject(database, project, { missingScopes: check.missingScopes });
  return true;
}

/** Intercom's installation health check. Source: Intercom, "Installation health check". */
export type Health =
  | { readonly state: 'OK' }
  | { readonly state: 'UNKNOWN'; readonly message: string }
  | { readonly state: 'UNHEALTHY'; readonly message: string; readonly cta_type: 'REINSTALL_CTA' }
  | {
      readonly state: 'UNHEALTHY';
      readonly message: string;
      readonly cta_type: 'URL_CTA';
      readonly cta_label: string;
      readonly cta_url: string;
    };

/** Intercom documents no deadline for its check; its webhooks time out after 5 s. */
const RESPONSE_DEADLINE_MS = 4_000;
const MAX_NAMES_LENGTH = 500;

/** Reads from the database whether the app can work in a workspace; the most fundamental problem wins. */
async function readHealth({ database, config }: AppContext, workspaceId: string): Promise<Health> {
  const workspace = await readInstalled(database, workspaceId);
  if (!workspace) return reinstall('Subscription Timeline is not installed in this workspace.');
  if (workspace.status === 'disconnected') {
    return reinstall(
      'Intercom no longer accepts our access. Reinstall the app: waiting events are then delivered.',
    );
  }
  const settingsUrl = `${config.publicUrl}/settings`;
  const refused = refusedHealth(workspace.refusals, settingsUrl);
  if (refused) return refused;
  const projects = await listProjects(database, workspaceId);
  if (projects.length === 0) {
    return link('No RevenueCat project is connected yet.', 'Connect RevenueCat', settingsUrl);
  }
  const refusing = projects.filter(({ refusedWebhook }) => refusedWebhook !== null);
  if (refusing.length > 0) {
    return link(
      `Webhooks of ${namesOf(refusing)} are refused, so no event arrives. The settings say how to correct it.`,
      'Correct the webhook',
      settingsUrl,
    );
  }
  const rejected = projects.filter((project) => project.apiKeyState === 'rejected');
  if (rejected.length > 0) {
    return link(
      `RevenueCat no longer accepts the API key of ${namesOf(rejected)}. Events still arrive; grants and refreshing do not work.`,
      'Replace the key',
      settingsUrl,
    );
  }
  const keyless = projects.filter((project) => project.apiKeyState === 'none');
  if (keyless.length > 0) {
    return link(
      `There is no RevenueCat API key for ${namesOf(keyless)}. Events arrive; grants and refreshing do not work.`,
      'Add an API key',
      settingsUrl,
    );
  }
  return { state: 'OK' };
}

/** A new permission needs a new consent; a plan is changed in Intercom, and only an admin can know about it. */
function refusedHealth(refusals: Workspace['refusals'], settingsUrl: string): Health | null {
  const all = [refusals.events, refusals.contacts].filter((each) => each !== undefined);
  if (all.some(({ code }) => code === 'intercom_scope_missing')) {
    return reinstall(
      'The app lacks a permission in Intercom. Reinstall it and allow the permissions that it asks for: waiting events are then delivered.',
    );
  }
  if (all.length === 0) return null;
  return link(
    'Your Intercom plan does not include what the app needs to record events. They wait, and are delivered when the plan allows it.',
    'See the settings',
    settingsUrl,
  );
}

/**
 * The answer to Intercom's daily check. Both platforms are called within the deadline, so that a key that expired in
 * a quiet week is found.
 */
export async function answerHealth(context: AppContext, workspaceId: string): Promise<Health> {
  const silent = await withTimeout(
    checkWorkspace(context, workspaceId),
    RESPONSE_DEADLINE_MS,
    (): Platform[] => ['Intercom', 'RevenueCat'],
  );
  const stored = await readHealth(context, workspaceId);
  const health: Health =
    stored.state === 'OK' && silent.length > 0
      ? { state: 'UNKNOWN', message: `${silent.join(' and ')} did not answer. The check is repeated.` }
      : stored;
  await updateRows(context.database, WorkspaceEntity, { workspaceId }, { healthTold: health });
  return health;
}

/**
 * Reports to Intercom immediately what its daily check would find, so that the admins' e-mail and the listing's
 * banner do not wait for it. Intercom sends one e-mail for each report, so only changes are reported.
 *
 * @throws AppError when Intercom cannot be reached
 */
export async function reportHealth(context: AppContext, workspaceId: string): Promise<void> {
  const { database, logger } = context;
  const workspace = await readInstalled(database, workspaceId);
  const client = workspace && context.intercom(workspace);
  if (!client) return;
  const health = await readHealth(context, workspaceId);
  const { state } = health;
  const stored = await database.manager.findOneBy(WorkspaceEntity, { workspaceId });
  if (isDeepStrictEqual(stored?.healthTold, health)) return;
  try {
    await client.pushHealth({ ...health });
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorize') throw error;
    // A revoked token cannot report its own revocation: Intercom's own check finds it.
    logger.info({ workspaceId, state }, 'health not reported to Intercom');
    return;
  }
  await updateRows(database, WorkspaceEntity, { workspaceId }, { healthTold: health });
  logger.info({ workspaceId, state }, 'health reported to Intercom');
}

function namesOf(projects: readonly Project[]): string {
  return projects
    .map(({ name }) => name)
    .join(', ')
    .slice(0, MAX_NAMES_LENGTH);
}

function reinstall(message: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'REINSTALL_CTA' };
}

function link(message: string, label: string, url: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'URL_CTA', cta_label: label, cta_url: url };
}

/**
 * Records that Intercom refuses a kind of work because a permission or a plan is missing.
 *
 * @returns whether that is new
 */
export async function recordRefusal(
  sql: Sql,
  workspaceId: string,
  refusal: Omit<Refusal, 'since'> & { readonly work: RefusedWork },
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set refusals = jsonb_set(refusals, array[$2::text], jsonb_build_object(
              'code', $3::text, 'message', $4::text,
              'since', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
      where workspace_id = $1 and (refusals -> $2 ->> 'code') is distinct from $3
     returning 1`,
    [workspaceId, refusal.work, refusal.code, refusal.message.slice(0, 500)],
  );
  return rows.length > 0;
}

/** Intercom accepts that kind of work again. @returns whether it was refused before */
export async function clearRefusal(sql: Sql, workspaceId: string, work: RefusedWork): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set refusals = refusals - $2::text where workspace_id = $1 and refusals ? $2 returning 1`,
    [workspaceId, work],
  );
  return rows.length > 0;
}

/** Retries refused events immediately instead of by their schedule: the permission or the plan has changed. */
export async function retryRefused(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update event_deliveries set next_try_at = null
      where workspace_id = $1 and delivered_at is null and not_sent is null
        and reason = any($2)
        and subscriber_id in (select subscriber_id from subscribers where workspace_id = $1 and pending_events > 0)`,
    [workspaceId, REFUSAL_CODES],
  );
  await sql.query(
    `update subscribers set due_at = now(), attempts = 0
      where workspace_id = $1 and due_at > now() and attempts > 0 and not waiting`,
    [workspaceId],
  );
  await notifyDelivery(sql, workspaceId);
}
