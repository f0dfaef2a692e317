import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { createHttpClient } from '../http/client.ts';
import { INTERCOM_VERSION, intercomApiUrl } from '../intercom/client.ts';
import { withTimeout } from '../time.ts';
import { createPlatformClients, type PlatformClients } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { createSecretBox } from '../workspaces/secrets.ts';
import { readWorkspace, type Workspace } from '../workspaces/store.ts';
import { type CheckResult, runChecks, unreachable } from './check.ts';
import {
  PROJECT_CHECKS,
  probeRevenueCat,
  type RevenueCatProbe,
  readWebhookHistory,
} from './project-checks.ts';
import {
  type Ask,
  DATABASE_CHECKS,
  OUTSIDE_CHECKS,
  type OutsideSubject,
  readDatabaseClock,
  readServerClock,
  SERVER_CHECKS,
} from './server-checks.ts';
import { type IntercomProbe, probeIntercom, WORKSPACE_CHECKS } from './workspace-checks.ts';

export interface DoctorContext {
  readonly config: Config;
  /** Whether `config.publicUrl` is a placeholder for a wrong one. */
  readonly isPublicUrlWrong?: boolean;
  readonly database: Database;
  /** Empty: none was found. */
  readonly keys: readonly Buffer[];
  /** One workspace; `null`: all. */
  readonly workspaceId: string | null;
  now(): number;
  /** Requests the public address; over HTTP by default. */
  readonly ask?: Ask;
}

/** Workspaces that are checked at the same time. */
const WORKSPACE_BATCH_SIZE = 6;
/** A person waits: a platform that takes longer counts as unreachable. */
const CALL_TIMEOUT_MS = 4_000;
/** For one workspace, however many calls that takes. */
const PLATFORM_TIMEOUT_MS = 8_000;

/** Reads the clocks of both platforms. Can start before the database is open. */
export async function prepareOutside(
  context: Pick<DoctorContext, 'config' | 'isPublicUrlWrong' | 'now' | 'ask'>,
): Promise<OutsideSubject> {
  const { config, now, isPublicUrlWrong = false } = context;
  const http = createHttpClient({ timeout: CALL_TIMEOUT_MS });
  const request: Ask = (url) => http.get(url);
  const askIntercom: Ask = (url) => http.get(url, { headers: { 'Intercom-Version': INTERCOM_VERSION } });
  const clocks = await Promise.all([
    readServerClock('Intercom', intercomApiUrl(config.intercom.apiUrl, 'US'), { ask: askIntercom, now }),
    readServerClock('RevenueCat', config.revenueCatApiUrl, { ask: request, now }),
  ]);
  return { config, isPublicUrlWrong, clocks, ask: context.ask ?? request };
}

/**
 * Checks everything that the database and the platforms can tell. Changes nothing.
 *
 * @param results each result is added as it comes, so that a check that hangs loses none
 */
export async function runDoctor(
  context: DoctorContext,
  results: CheckResult[] = [],
  preparing: Promise<OutsideSubject> = prepareOutside(context),
): Promise<CheckResult[]> {
  const { database, now } = context;
  results.push(...(await runChecks(DATABASE_CHECKS, context)));
  const isMigrated = results.some(({ check, status }) => check === 'migrations' && status === 'ok');
  const outside = await preparing;
  const clocks = [await readDatabaseClock(database, now), ...outside.clocks];
  results.push(...(await runChecks(OUTSIDE_CHECKS, { ...outside, clocks })));
  // Other tables cannot be relied on.
  if (!isMigrated) return results;

  const workspaces = await chooseWorkspaces(context);
  const workspaceIds = workspaces.map(({ workspaceId }) => workspaceId);
  results.push(
    ...(await runChecks(SERVER_CHECKS, { ...context, workspaceIds, publicUrl: shownUrl(context) })),
  );
  // With a platform that hangs, a hundred workspaces would take a hundred times as long to say the same.
  const silent = new Set<Platform>();
  for (let from = 0; from < workspaces.length; from += WORKSPACE_BATCH_SIZE) {
    const batch = workspaces.slice(from, from + WORKSPACE_BATCH_SIZE);
    const checked = await Promise.all(batch.map((each) => checkWorkspace(context, each, silent)));
    results.push(...checked.flat());
  }
  return results;
}

type Platform = 'Intercom' | 'RevenueCat';

async function chooseWorkspaces({ database, workspaceId }: DoctorContext): Promise<Workspace[]> {
  if (workspaceId !== null) {
    const workspace = await readWorkspace(database, workspaceId);
    return workspace ? [workspace] : [];
  }
  const rows = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  const workspaces = await Promise.all(rows.map((row) => readWorkspace(database, row.workspace_id)));
  return workspaces.filter((each): each is Workspace => each !== null && each.status !== 'uninstalled');
}

async function checkWorkspace(
  context: DoctorContext,
  workspace: Workspace,
  silent: Set<Platform>,
): Promise<CheckResult[]> {
  const { config, database, now } = context;
  const { workspaceId } = workspace;
  const publicUrl = shownUrl(context);
  const projects = await listProjects(database, workspaceId);
  const ofWorkspace = probeIntercomOf(context, workspace, silent).then((intercom) =>
    runChecks(
      WORKSPACE_CHECKS,
      { config, database, workspace, intercom, projectCount: projects.length, publicUrl },
      { workspace: workspaceId },
    ),
  );
  const ofProjects = projects.map(async (project) =>
    runChecks(
      PROJECT_CHECKS,
      {
        ...(await readWebhookHistory(database, project)),
        project,
        revenueCat: await probeRevenueCatOf(context, { workspace, project }, silent),
        publicUrl,
        isPublicUrlWrong: context.isPublicUrlWrong ?? false,
        nowMs: now(),
      },
      { workspace: workspaceId, project: project.projectId },
    ),
  );
  return (await Promise.all([ofWorkspace, ...ofProjects])).flat();
}

/** A placeholder must not be shown as the right address. */
function shownUrl({ config, isPublicUrlWrong }: DoctorContext): string {
  return isPublicUrlWrong ? '<PUBLIC_URL>' : config.publicUrl;
}

function probeIntercomOf(
  context: DoctorContext,
  workspace: Workspace,
  silent: Set<Platform>,
): Promise<IntercomProbe> {
  const client = clientOrNull(context, ({ intercom }) => intercom(workspace, { timeoutMs: CALL_TIMEOUT_MS }));
  if (client && silent.has('Intercom'))
    return Promise.resolve(unreachable('Intercom was not asked: it did not answer for another workspace.'));
  return probeWithin('Intercom', silent, probeIntercom(workspace, client));
}

function probeRevenueCatOf(
  context: DoctorContext,
  { workspace, project }: { workspace: Workspace; project: Project },
  silent: Set<Platform>,
): Promise<RevenueCatProbe> {
  const client = clientOrNull(context, ({ revenueCat }) =>
    revenueCat(project, { timeoutMs: CALL_TIMEOUT_MS }),
  );
  if (client && silent.has('RevenueCat'))
    return Promise.resolve(unreachable('RevenueCat was not asked: it did not answer for another project.'));
  return probeWithin('RevenueCat', silent, probeRevenueCat(project, client, workspace.settings));
}

async function probeWithin<Probe extends { readonly state: string }>(
  platform: Platform,
  silent: Set<Platform>,
  probing: Promise<Probe>,
): Promise<Probe | ReturnType<typeof unreachable>> {
  const probe = await withTimeout(probing, PLATFORM_TIMEOUT_MS, () =>
    unreachable(`${platform} answers too slowly.`),
  );
  if (probe.state === 'unreachable') silent.add(platform);
  return probe;
}

/** `null`: the secret is missing, or no key decrypts it; the check `encryption_key` reports that. */
function clientOrNull<T>(context: DoctorContext, create: (clients: PlatformClients) => T | null): T | null {
  if (context.keys.length === 0) return null;
  try {
    return create(createPlatformClients({ ...context, secrets: createSecretBox(context.keys) }));
  } catch {
    return null;
  }
}
