import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { createHttpClient } from '../http/client.ts';
import { INTERCOM_VERSION, intercomApiUrl } from '../intercom/client.ts';
import { withTimeout } from '../time.ts';
import { createPlatformClients, type PlatformClients } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { createSecretBox } from '../workspaces/secrets.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { listInstalled, readWorkspace, type Workspace } from '../workspaces/store.ts';
import { type CheckResult, runChecks, unreachable } from './check.ts';
import { PROJECT_CHECKS, probeRevenueCat, type RevenueCatProbe } from './project-checks.ts';
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
  context: Pick<DoctorContext, 'config' | 'now' | 'ask'>,
): Promise<OutsideSubject> {
  const { config, now } = context;
  const http = createHttpClient({ timeout: CALL_TIMEOUT_MS });
  const request: Ask = (url) => http.get(url);
  const askIntercom: Ask = (url) => http.get(url, { headers: { 'Intercom-Version': INTERCOM_VERSION } });
  const clocks = await Promise.all([
    readServerClock('Intercom', intercomApiUrl(config.intercom.apiUrl, 'US'), { ask: askIntercom, now }),
    readServerClock('RevenueCat', config.revenueCatApiUrl, { ask: request, now }),
  ]);
  return { config, clocks, ask: context.ask ?? request };
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
  results.push(...(await runChecks(SERVER_CHECKS, { ...context, workspaceIds })));
  const platforms: Platforms = { clients: clientsOf(context), silent: new Set() };
  for (let from = 0; from < workspaces.length; from += WORKSPACE_BATCH_SIZE) {
    const batch = workspaces.slice(from, from + WORKSPACE_BATCH_SIZE);
    const checked = await Promise.all(batch.map((each) => checkWorkspace(context, each, platforms)));
    results.push(...checked.flat());
  }
  return results;
}

interface Platforms {
  readonly clients: PlatformClients | null;
  /** With one that hangs, a hundred workspaces would take a hundred times as long to say the same. */
  readonly silent: Set<'Intercom' | 'RevenueCat'>;
}

/** `null`: there is no encryption key; the check `encryption_key` reports that. */
function clientsOf(context: DoctorContext): PlatformClients | null {
  if (context.keys.length === 0) return null;
  return createPlatformClients({ ...context, secrets: createSecretBox(context.keys) });
}

async function chooseWorkspaces({ database, workspaceId }: DoctorContext): Promise<Workspace[]> {
  const ids = workspaceId === null ? await listInstalled(database) : [workspaceId];
  const workspaces = await Promise.all(ids.map((id) => readWorkspace(database, id)));
  return workspaces.filter((each) => each !== null);
}

async function checkWorkspace(
  context: DoctorContext,
  workspace: Workspace,
  platforms: Platforms,
): Promise<CheckResult[]> {
  const { config, database, now } = context;
  const { workspaceId } = workspace;
  const projects = await listProjects(database, workspaceId);
  const ofWorkspace = probeIntercomOf(platforms, workspace).then((intercom) =>
    runChecks(
      WORKSPACE_CHECKS,
      { config, database, workspace, intercom, projectCount: projects.length },
      { workspace: workspaceId },
    ),
  );
  const ofProjects = projects.map(async (project) =>
    runChecks(
      PROJECT_CHECKS,
      {
        project,
        revenueCat: await probeRevenueCatOf(platforms, project, workspace.settings),
        config,
        nowMs: now(),
      },
      { workspace: workspaceId, project: project.projectId },
    ),
  );
  return (await Promise.all([ofWorkspace, ...ofProjects])).flat();
}

async function probeIntercomOf({ clients, silent }: Platforms, workspace: Workspace): Promise<IntercomProbe> {
  const client = decrypted(() => clients?.intercom(workspace, { timeoutMs: CALL_TIMEOUT_MS }));
  if (client && silent.has('Intercom'))
    return unreachable('Intercom was not asked: it did not answer for another workspace.');
  const probe = await withTimeout(probeIntercom(workspace, client), PLATFORM_TIMEOUT_MS, () =>
    unreachable('Intercom answers too slowly.'),
  );
  if (probe.state === 'unreachable') silent.add('Intercom');
  return probe;
}

async function probeRevenueCatOf(
  { clients, silent }: Platforms,
  project: Project,
  settings: WorkspaceSettings,
): Promise<RevenueCatProbe> {
  const client = decrypted(() => clients?.revenueCat(project, { timeoutMs: CALL_TIMEOUT_MS }));
  if (client && silent.has('RevenueCat'))
    return unreachable('RevenueCat was not asked: it did not answer for another project.');
  const probe = await withTimeout(probeRevenueCat(project, client, settings), PLATFORM_TIMEOUT_MS, () =>
    unreachable('RevenueCat answers too slowly.'),
  );
  if (probe.state === 'unreachable') silent.add('RevenueCat');
  return probe;
}

/** `null`: there is no secret, or no key decrypts it. */
function decrypted<Client>(create: () => Client | null | undefined): Client | null {
  try {
    return create() ?? null;
  } catch {
    return null;
  }
}
