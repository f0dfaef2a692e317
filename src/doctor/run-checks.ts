import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { createHttpClient } from '../http/client.ts';
import { readWebhookRefusal } from '../ingestion/refused-webhooks.ts';
import { intercomApiUrl } from '../intercom/client.ts';
import { createCallLimiter } from '../revenuecat/call-limiter.ts';
import { withTimeout } from '../time.ts';
import { intercomClientFor, revenueCatClientFor } from '../workspaces/clients.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { createSecretBox, type SecretBox } from '../workspaces/secrets.ts';
import { DEFAULT_SETTINGS } from '../workspaces/settings.ts';
import { readWorkspace, type Workspace } from '../workspaces/store.ts';
import { type ClockReading, checkClock, readDatabaseClock, readServerClock } from './check-clock.ts';
import { checkDatabase, checkDisk } from './check-database.ts';
import { checkIntercom } from './check-intercom.ts';
import { type Ask, checkPublicUrl } from './check-public-url.ts';
import { type Finding, ok, problem, warning } from './check-result.ts';
import { checkRevenueCat } from './check-revenuecat.ts';
import { checkSecrets } from './check-secrets.ts';
import { checkDeliveries, checkRetention, checkWork } from './check-work.ts';

export interface DoctorContext {
  readonly config: Config;
  /** Whether `config.publicUrl` stands in for one that is wrong. */
  readonly isPublicUrlWrong?: boolean;
  readonly database: Database;
  /** Empty: none was found. */
  readonly keys: readonly Buffer[];
  /** One workspace; `null`: all. */
  readonly workspaceId: string | null;
  now(): number;
  /** Asks an address; over HTTP unless given. */
  readonly ask?: Ask;
}

/** Workspaces that are examined at the same time. */
const AT_ONCE = 6;
/** A person waits: whoever takes longer counts as away. */
const CALL_TIMEOUT_MS = 4_000;
/** What a platform answers in is bounded by this for one workspace, however many calls that takes. */
const PLATFORM_TIMEOUT_MS = 8_000;

/** What can be seen without the database. */
export interface Outside {
  readonly clocks: readonly ClockReading[];
  readonly findings: readonly Finding[];
}

/** Asks both platforms for the time, and the public address for this app. */
export async function lookOutside(
  patient: Pick<DoctorContext, 'config' | 'isPublicUrlWrong' | 'now' | 'ask'>,
): Promise<Outside> {
  const { config, now } = patient;
  const ask = patient.ask ?? ((url) => createHttpClient({ timeout: CALL_TIMEOUT_MS }).get(url));
  const [intercom, revenueCat, findings] = await Promise.all([
    readServerClock('Intercom', intercomApiUrl(config.intercom.apiUrl, 'US'), now),
    readServerClock('RevenueCat', config.revenueCatApiUrl, now),
    patient.isPublicUrlWrong ? [] : checkPublicUrl(config, ask),
  ]);
  return { clocks: [intercom, revenueCat], findings };
}

/**
 * Looks at everything that the database and the platforms tell. Changes nothing.
 *
 * @param findings what is found is added to them as it is found
 */
export async function examine(
  patient: DoctorContext,
  findings: Finding[] = [],
  looking: Promise<Outside> = lookOutside(patient),
): Promise<Finding[]> {
  const { config, database, now } = patient;
  const state = await checkDatabase(database);
  findings.push(...state.findings, await checkDisk(config.dataDir));
  const clock = await readDatabaseClock(database, now);
  const outside = await looking;
  findings.push(...checkClock([clock, ...outside.clocks]), ...outside.findings);
  // Other tables cannot be relied on.
  if (!state.migrated) return findings;

  const workspaces = await chooseWorkspaces(patient);
  findings.push(...(await checkSecrets(database, workspaces, patient.keys)));
  findings.push(...(await checkWork(database)));
  if (workspaces.length === 0) findings.push(nobody(patient));
  // Behind a platform that hangs, a hundred workspaces would take a hundred times as long to say the same.
  const away: Away = { intercom: false, revenueCat: false };
  for (let from = 0; from < workspaces.length; from += AT_ONCE) {
    const some = workspaces.slice(from, from + AT_ONCE);
    findings.push(...(await Promise.all(some.map((id) => checkWorkspace(patient, id, away)))).flat());
  }
  return findings;
}

type Away = { intercom: boolean; revenueCat: boolean };

async function chooseWorkspaces({ database, workspaceId }: DoctorContext): Promise<string[]> {
  if (workspaceId !== null) return (await readWorkspace(database, workspaceId)) ? [workspaceId] : [];
  const rows = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  const workspaces = await Promise.all(rows.map((row) => readWorkspace(database, row.workspace_id)));
  return workspaces.flatMap((each) => (each && each.status !== 'uninstalled' ? [each.workspaceId] : []));
}

function nobody(patient: DoctorContext): Finding {
  const { workspaceId } = patient;
  const install = `Install the app at ${addressOf(patient)}/install.`;
  return workspaceId === null
    ? warning('workspaces', 'No Intercom workspace has the app installed yet.', install)
    : problem('workspaces', `No workspace ${workspaceId} has the app installed.`, install);
}

async function checkWorkspace(patient: DoctorContext, workspaceId: string, away: Away): Promise<Finding[]> {
  const { database } = patient;
  const workspace = await readWorkspace(database, workspaceId);
  if (!workspace) return [];
  const projects = await listProjects(database, workspaceId);
  const [intercom, deliveries, retention, ...revenueCat] = await Promise.all([
    askIntercom(patient, workspace, away),
    checkDeliveries(database, workspaceId),
    checkRetention(database, workspaceId, patient.config.payloadRetentionDays),
    ...projects.map((project) => askRevenueCat(patient, project, away)),
  ]);
  return [
    ...intercom,
    ...deliveries,
    ...retention,
    connectedProjects(patient, workspaceId, projects.length),
    ...revenueCat.flat(),
  ];
}

function connectedProjects(patient: DoctorContext, workspaceId: string, count: number): Finding {
  const scope = { workspace: workspaceId };
  return count > 0
    ? ok('projects', `${count} RevenueCat ${count === 1 ? 'project is' : 'projects are'} connected.`, scope)
    : problem(
        'projects',
        'No RevenueCat project is connected.',
        `Connect one at ${addressOf(patient)}/settings/revenuecat, or with "npm run -s cli -- connect --workspace ${workspaceId} --project <proj…> --key <sk_…>".`,
        scope,
      );
}

/** What stands in for a wrong address must not be told to anybody as the right one. */
function addressOf({ config, isPublicUrlWrong }: DoctorContext): string {
  return isPublicUrlWrong ? '<PUBLIC_URL>' : config.publicUrl;
}

async function askIntercom(patient: DoctorContext, workspace: Workspace, away: Away): Promise<Finding[]> {
  const { workspaceId } = workspace;
  const scope = { workspace: workspaceId };
  const client = clientOrNull(patient, (secrets) =>
    intercomClientFor({ config: patient.config, secrets, now: patient.now }, workspace, {
      timeoutMs: CALL_TIMEOUT_MS,
    }),
  );
  if (away.intercom && client)
    return [
      problem(
        'intercom_api',
        'Intercom was not asked: it did not answer for another workspace.',
        LATER,
        scope,
      ),
    ];
  const asking = checkIntercom(workspace, client, addressOf(patient));
  const findings = await withTimeout(asking, PLATFORM_TIMEOUT_MS, () => [
    problem('intercom_api', 'Intercom answers too slowly.', LATER, scope),
  ]);
  if (findings.some(({ check }) => check === 'intercom_api')) away.intercom = true;
  return findings;
}

async function askRevenueCat(patient: DoctorContext, project: Project, away: Away): Promise<Finding[]> {
  const { config, database, now } = patient;
  const { workspaceId, projectId } = project;
  const scope = { workspace: workspaceId, project: projectId };
  const client = clientOrNull(patient, (secrets) =>
    revenueCatClientFor({ config, secrets, now, limiter: createCallLimiter({ database }) }, project, {
      timeoutMs: CALL_TIMEOUT_MS,
    }),
  );
  if (away.revenueCat && client)
    return [
      problem(
        'revenuecat_api',
        'RevenueCat was not asked: it did not answer for another project.',
        LATER,
        scope,
      ),
    ];
  const setup = {
    publicUrl: addressOf(patient),
    isPublicUrlWrong: patient.isPublicUrlWrong ?? false,
    nowMs: now(),
    settings: (await readWorkspace(database, workspaceId))?.settings ?? DEFAULT_SETTINGS,
    connectedAtMs: await readConnectedAt(database, workspaceId, projectId),
    refusal: await readWebhookRefusal(database, workspaceId, projectId),
  };
  const asking = checkRevenueCat(project, client, setup);
  const findings = await withTimeout(asking, PLATFORM_TIMEOUT_MS, () => [
    problem('revenuecat_api', 'RevenueCat answers too slowly.', LATER, scope),
  ]);
  if (findings.some(({ check, status }) => check === 'revenuecat_api' && status === 'problem'))
    away.revenueCat = true;
  return findings;
}

const LATER =
  'Try again in a minute. If it stays: check the connection from here, and the status pages of the platform.';

async function readConnectedAt(database: Database, workspaceId: string, projectId: string): Promise<number> {
  const [row] = await database.query<{ created_at: Date }>(
    'select created_at from projects where workspace_id = $1 and project_id = $2',
    [workspaceId, projectId],
  );
  return row?.created_at.getTime() ?? 0;
}

/** `null`: the secret is missing, or none of the keys decrypts it; that is a finding of its own. */
function clientOrNull<T>({ keys }: DoctorContext, create: (secrets: SecretBox) => T | null): T | null {
  if (keys.length === 0) return null;
  try {
    return create(createSecretBox(keys));
  } catch {
    return null;
  }
}
