import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { createHttpClient, type Platform } from '../http/client.ts';
import { INTERCOM_VERSION, type IntercomClient, intercomApiUrl } from '../intercom/client.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { withTimeout } from '../time.ts';
import { createPlatformClients, type PlatformClients } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { listInstalled, readWorkspace, type Workspace } from '../workspaces/repository.ts';
import { createSecretBox } from '../workspaces/secrets.ts';
import { type CheckResult, runChecks, unreachable } from './check.ts';
import { PROJECT_CHECKS, probeRevenueCat } from './project-checks.ts';
import {
  DATABASE_CHECKS,
  OUTSIDE_CHECKS,
  type OutsideSubject,
  type RequestUrl,
  readDatabaseClock,
  readServerClock,
  SERVER_CHECKS,
} from './server-checks.ts';
import { probeIntercom, WORKSPACE_CHECKS } from './workspace-checks.ts';

export interface DoctorContext {
  readonly config: Config;
  readonly database: Database;
  /** Empty: none was found. */
  readonly keys: readonly Buffer[];
  /** One workspace; `null`: all. */
  readonly workspaceId: string | null;
  now(): number;
  /** Requests the public address; over HTTP by default. */
  readonly requestUrl?: RequestUrl;
}

/** Workspaces that are checked at the same time. */
const WORKSPACE_BATCH_SIZE = 6;
/** A person waits: a platform that takes longer counts as unreachable. */
const CALL_TIMEOUT_MS = 4_000;
/** For one workspace, however many calls that takes. */
const PLATFORM_TIMEOUT_MS = 8_000;

/** Reads the clocks of both platforms. Can start before the database is open. */
export async function prepareOutside(
  context: Pick<DoctorContext, 'config' | 'now' | 'requestUrl'>,
): Promise<OutsideSubject> {
  const { config, now } = context;
  const http = createHttpClient({ timeout: CALL_TIMEOUT_MS });
  const request: RequestUrl = (url) => http.get(url);
  const requestIntercom: RequestUrl = (url) =>
    http.get(url, { headers: { 'Intercom-Version': INTERCOM_VERSION } });
  const clocks = await Promise.all([
    readServerClock('Intercom', intercomApiUrl(config.intercom.apiUrl, 'US'), {
      requestUrl: requestIntercom,
      now,
    }),
    readServerClock('RevenueCat', config.revenueCatApiUrl, { requestUrl: request, now }),
  ]);
  return { config, clocks, requestUrl: context.requestUrl ?? request };
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
  const platforms: Platforms = {
    clients: clientsOf(context),
    withIntercom: createClientProbe<IntercomClient>('Intercom'),
    withRevenueCat: createClientProbe<RevenueCatClient>('RevenueCat'),
  };
  for (let from = 0; from < workspaces.length; from += WORKSPACE_BATCH_SIZE) {
    const batch = workspaces.slice(from, from + WORKSPACE_BATCH_SIZE);
    const checked = await Promise.all(batch.map((each) => runWorkspaceChecks(context, each, platforms)));
    results.push(...checked.flat());
  }
  return results;
}

interface Platforms {
  readonly clients: PlatformClients | null;
  readonly withIntercom: WithClient<IntercomClient>;
  readonly withRevenueCat: WithClient<RevenueCatClient>;
}

/** @param createClient throws when no key decrypts the secret; without one `probe` gets `null` */
type WithClient<Client> = <Answer extends { readonly state: string }>(
  createClient: () => Client | null | undefined,
  probe: (client: Client | null) => Promise<Answer>,
) => Promise<Answer | ReturnType<typeof unreachable>>;

/**
 * Calls a platform for one workspace or project after the other. A hundred calls of one that hangs would take a hundred
 * times as long and say the same: one that has not answered is not called again.
 */
function createClientProbe<Client>(name: Platform): WithClient<Client> {
  let isSilent = false;
  return async (createClient, probe) => {
    const client = decrypted(createClient);
    if (client && isSilent) return unreachable(`${name} was not asked: it has not answered before.`);
    const answer = await withTimeout(probe(client), PLATFORM_TIMEOUT_MS, () =>
      unreachable(`${name} answers too slowly.`),
    );
    isSilent ||= answer.state === 'unreachable';
    return answer;
  };
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

async function runWorkspaceChecks(
  context: DoctorContext,
  workspace: Workspace,
  { clients, withIntercom, withRevenueCat }: Platforms,
): Promise<CheckResult[]> {
  const { config, database, now } = context;
  const { workspaceId } = workspace;
  const calls = { timeoutMs: CALL_TIMEOUT_MS };
  const projects = await listProjects(database, workspaceId);
  const ofWorkspace = async (): Promise<CheckResult[]> => {
    const intercom = await withIntercom(
      () => clients?.intercom(workspace, calls),
      (client) => probeIntercom(workspace, client),
    );
    const subject = { config, database, workspace, intercom, projectCount: projects.length };
    return runChecks(WORKSPACE_CHECKS, subject, { workspace: workspaceId });
  };
  const ofProject = async (project: Project): Promise<CheckResult[]> => {
    const revenueCat = await withRevenueCat(
      () => clients?.revenueCat(project, calls),
      (client) => probeRevenueCat(project, client, workspace.settings),
    );
    const scope = { workspace: workspaceId, project: project.projectId };
    return runChecks(PROJECT_CHECKS, { project, revenueCat, config, nowMs: now() }, scope);
  };
  return (await Promise.all([ofWorkspace(), ...projects.map(ofProject)])).flat();
}

/** `null`: there is no secret, or no key decrypts it. */
function decrypted<Client>(create: () => Client | null | undefined): Client | null {
  try {
    return create() ?? null;
  } catch {
    return null;
  }
}
