import { isDeepStrictEqual } from 'node:util';
import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { withTimeout } from '../time.ts';
import { checkWorkspace, type Platform } from './check-installation.ts';
import { intercomClientFor } from './clients.ts';
import { readHealthTold, setHealthTold } from './health-store.ts';
import type { InstallContext } from './install.ts';
import { listProjects, type Refusals, readWorkspace } from './store.ts';

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

type HealthContext = Pick<InstallContext, 'config' | 'database' | 'secrets' | 'logger' | 'now'>;

/** Intercom names no limit for its check; its webhooks give up after 5 s. */
const ANSWER_WITHIN_MS = 4_000;

/** Reads from what is stored whether the app can work in a workspace, the most fundamental first. */
export async function checkHealth(sql: Sql, workspaceId: string, publicUrl: string): Promise<Health> {
  const workspace = await readWorkspace(sql, workspaceId);
  if (!workspace || workspace.status === 'uninstalled') {
    return reinstall('Subscription Timeline is not installed in this workspace.');
  }
  if (workspace.status === 'disconnected') {
    return reinstall(
      'Intercom no longer accepts our access. Reinstall the app: waiting events are then delivered.',
    );
  }
  const settingsUrl = `${publicUrl}/settings`;
  const refused = refusedHealth(workspace.refusals, settingsUrl);
  if (refused) return refused;
  const projects = await listProjects(sql, workspaceId);
  if (projects.length === 0) {
    return link('No RevenueCat project is connected yet.', 'Connect RevenueCat', settingsUrl);
  }
  const rejected = projects.filter((project) => project.apiKeyState === 'rejected');
  if (rejected.length > 0) {
    const names = rejected.map((project) => project.name).join(', ');
    return link(
      `RevenueCat no longer accepts the API key of ${names.slice(0, 500)}. Events still arrive; grants and refreshing do not work.`,
      'Replace the key',
      settingsUrl,
    );
  }
  return { state: 'OK' };
}

/** A new permission needs a new consent; a plan is changed in Intercom, and only an admin can know about it. */
function refusedHealth(refusals: Refusals, settingsUrl: string): Health | null {
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
 * The answer to Intercom's daily check: both platforms are asked, as far as there is time, so that a key that died
 * in a quiet week is found.
 */
export async function answerHealth(context: HealthContext, workspaceId: string): Promise<Health> {
  const { database, config } = context;
  const silent = await withTimeout(checkWorkspace(context, workspaceId), ANSWER_WITHIN_MS, (): Platform[] => [
    'Intercom',
    'RevenueCat',
  ]);
  const stored = await checkHealth(database, workspaceId, config.publicUrl);
  const health = stored.state === 'OK' && silent.length > 0 ? unknown(silent) : stored;
  await setHealthTold(database, workspaceId, health);
  return health;
}

function unknown(silent: readonly Platform[]): Health {
  return {
    state: 'UNKNOWN',
    message: `${silent.join(' and ')} did not answer, so the check could not be made. It is tried again.`,
  };
}

/**
 * Tells Intercom at once what its daily check would find, so that the admins' e-mail and the listing's banner do
 * not wait for it. Intercom sends one e-mail for each change: it is told of changes alone.
 *
 * @throws AppError when Intercom cannot be told now
 */
export async function reportHealth(context: HealthContext, workspaceId: string): Promise<void> {
  const { database } = context;
  const workspace = await readWorkspace(database, workspaceId);
  const client = workspace && intercomClientFor(context, workspace);
  if (!client) return;
  const health = await checkHealth(database, workspaceId, context.config.publicUrl);
  if (isDeepStrictEqual(await readHealthTold(database, workspaceId), health)) return;
  try {
    await client.pushHealth({ ...health });
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorise') throw error;
    // A dead token cannot tell of its own death: Intercom hears it when it asks.
    context.logger.info({ workspaceId, state: health.state }, 'Intercom could not be told of the health');
    return;
  }
  await setHealthTold(database, workspaceId, health);
  context.logger.info({ workspaceId, state: health.state }, 'told Intercom of the health');
}

function reinstall(message: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'REINSTALL_CTA' };
}

function link(message: string, label: string, url: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'URL_CTA', cta_label: label, cta_url: url };
}
