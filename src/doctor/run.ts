import { randomBytes } from 'node:crypto';
import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { AppError, answerOrError } from '../errors.ts';
import { createHttpClient, type Platform } from '../http/client.ts';
import { INTERCOM_VERSION, intercomApiUrl } from '../intercom/client.ts';
import { withTimeout } from '../time.ts';
import { createPlatformClients, type PlatformClients } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { listInstalled, readInstalled, type Workspace } from '../workspaces/repository.ts';
import { createSecretBox } from '../workspaces/secrets.ts';
import { type CheckResult, runChecks } from './check.ts';
import {
  type ClockOffset,
  OUTSIDE_CHECKS,
  type RequestUrl,
  readDatabaseClock,
  readServerClock,
} from './outside-checks.ts';
import { PROJECT_CHECKS, tryRevenueCat } from './project-checks.ts';
import { DATABASE_CHECKS, SERVER_CHECKS } from './server-checks.ts';
import { tryIntercom, WORKSPACE_CHECKS } from './workspace-checks.ts';

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

const WORKSPACE_BATCH_SIZE = 6;
/** A person waits: a platform that takes longer counts as unreachable. */
const CALL_TIMEOUT_MS = 4_000;
/** For one workspace or project, however many calls it takes. */
const PLATFORM_TIMEOUT_MS = 8_000;

/** Checks what this server can reach without the database. @param clocks the database's clock, if it is open */
export async function checkOutside(
  { config, now, requestUrl }: Pick<DoctorContext, 'config' | 'now' | 'requestUrl'>,
  clocks: readonly ClockOffset[] = [],
): Promise<CheckResult[]> {
  const http = createHttpClient({ timeout: CALL_TIMEOUT_MS });
  const intercomUrl = intercomApiUrl(config.intercom.apiUrl, 'US');
  const headers = { 'Intercom-Version': INTERCOM_VERSION };
  const platforms = await Promise.all([
    readServerClock('Intercom', () => http.get(intercomUrl, { headers }), now),
    readServerClock('RevenueCat', () => http.get(config.revenueCatApiUrl), now),
  ]);
  return runChecks(OUTSIDE_CHECKS, {
    config,
    clocks: [...clocks, ...platforms],
    requestUrl: requestUrl ?? ((url) => http.get(url)),
  });
}

/**
 * Checks the database, this server and both platforms. Changes nothing.
 *
 * @param results each result is added as it comes, so that a check that hangs loses none
 */
export async function runDoctor(context: DoctorContext, results: CheckResult[]): Promise<void> {
  const { database, keys, now } = context;
  results.push(...(await runChecks(DATABASE_CHECKS, context)));
  const isMigrated = results.some(({ check, status }) => check === 'migrations' && status === 'ok');
  results.push(...(await checkOutside(context, [await readDatabaseClock(database, now)])));
  // Without all migrations, other tables cannot be relied on.
  if (!isMigrated) return;

  const workspaces = await chooseWorkspaces(context);
  const workspaceIds = workspaces.map(({ workspaceId }) => workspaceId);
  // Without a key, a random one is used, which decrypts nothing; the check `encryption_key` reports that.
  const secrets = createSecretBox(keys.length > 0 ? keys : [randomBytes(32)]);
  results.push(...(await runChecks(SERVER_CHECKS, { ...context, secrets, workspaceIds })));
  const clients = createPlatformClients({ ...context, secrets });
  const unresponsive = new Set<Platform>();
  for (let from = 0; from < workspaces.length; from += WORKSPACE_BATCH_SIZE) {
    const batch = workspaces.slice(from, from + WORKSPACE_BATCH_SIZE);
    const checked = await Promise.all(
      batch.map((each) => runWorkspaceChecks(context, each, { clients, unresponsive })),
    );
    results.push(...checked.flat());
  }
}

/**
 * Calls a platform for one workspace or project. A platform that has not answered once is not called again: a hundred
 * calls would take a hundred times as long and give the same result.
 *
 * @returns `null`: there is no client to call it with
 */
async function callPlatform<Client, Answer>(
  platform: { readonly name: Platform; readonly unresponsive: Set<Platform> },
  client: Client | null,
  call: (client: Client) => Promise<Answer>,
): Promise<Answer | AppError | null> {
  const { name, unresponsive } = platform;
  const code = name === 'Intercom' ? 'intercom_unavailable' : 'revenuecat_unavailable';
  if (client === null) return null;
  if (unresponsive.has(name)) return new AppError(code, `${name} has not answered before`);
  const tooSlow = () => new AppError(code, `${name} answers too slowly`);
  const answer = await withTimeout(answerOrError(call(client)), PLATFORM_TIMEOUT_MS, tooSlow);
  if (answer instanceof AppError && answer.code === code) unresponsive.add(name);
  return answer;
}

async function chooseWorkspaces({ database, workspaceId }: DoctorContext): Promise<Workspace[]> {
  const ids = workspaceId === null ? await listInstalled(database) : [workspaceId];
  const workspaces = await Promise.all(ids.map((id) => readInstalled(database, id)));
  return workspaces.filter((each) => each !== null);
}

async function runWorkspaceChecks(
  context: DoctorContext,
  workspace: Workspace,
  { clients, unresponsive }: { readonly clients: PlatformClients; readonly unresponsive: Set<Platform> },
): Promise<CheckResult[]> {
  const { config, database, now } = context;
  const { workspaceId } = workspace;
  const calls = { timeoutMs: CALL_TIMEOUT_MS };
  const projects = await listProjects(database, workspaceId);
  const ofWorkspace = async (): Promise<CheckResult[]> => {
    const isRejected = workspace.status === 'disconnected';
    const client = isRejected ? null : nullIfThrown(() => clients.intercom(workspace, calls));
    const intercom = await callPlatform({ name: 'Intercom', unresponsive }, client, tryIntercom);
    const subject = { config, database, workspace, intercom, projectCount: projects.length };
    return runChecks(WORKSPACE_CHECKS, subject, { workspace: workspaceId });
  };
  const ofProject = async (project: Project): Promise<CheckResult[]> => {
    const client = nullIfThrown(() => clients.revenueCat(project, calls));
    const revenueCat = await callPlatform({ name: 'RevenueCat', unresponsive }, client, (called) =>
      tryRevenueCat(called, project, workspace.settings),
    );
    const scope = { workspace: workspaceId, project: project.projectId };
    return runChecks(PROJECT_CHECKS, { project, revenueCat, config, nowMs: now() }, scope);
  };
  return (await Promise.all([ofWorkspace(), ...projects.map(ofProject)])).flat();
}

/** `create` throws if a secret cannot be decrypted, because the key that encrypted it is missing. */
function nullIfThrown<T>(create: () => T | null): T | null {
  try {
    return create();
  } catch {
    return null;
  }
}
