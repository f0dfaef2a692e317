import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { createIntercomClient, intercomApiUrl } from '../intercom/client.ts';
import { createCallLimiter } from '../revenuecat/call-limiter.ts';
import { createRevenueCatClient } from '../revenuecat/client.ts';
import { createSecretBox, type SealedPlace, type SecretBox } from '../workspaces/secrets.ts';
import { listProjects, readWorkspace, sealedAs } from '../workspaces/store.ts';
import { checkClock, readDatabaseClock, readServerClock } from './check-clock.ts';
import { checkDatabase, checkDisk } from './check-database.ts';
import { checkIntercom } from './check-intercom.ts';
import { checkRevenueCat } from './check-revenuecat.ts';
import { checkSecrets } from './check-secrets.ts';
import { checkDeliveries, checkRetention, checkWork } from './check-work.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

export interface Patient {
  readonly config: Config;
  readonly database: Database;
  /** Empty: none was found. */
  readonly keys: readonly Buffer[];
  /** One workspace; `null`: all. */
  readonly workspaceId: string | null;
  now(): number;
}

/** Workspaces that are examined at the same time. */
const AT_ONCE = 6;

/** Looks at everything that the database and the platforms tell. Changes nothing. */
export async function examine(patient: Patient): Promise<Finding[]> {
  const { config, database, now } = patient;
  const { findings, migrated } = await checkDatabase(database);
  findings.push(await checkDisk(config.dataDir));
  const clocks = await Promise.all([
    readDatabaseClock(database, now),
    readServerClock('Intercom', intercomApiUrl(config.intercom.apiUrl, 'US'), now),
    readServerClock('RevenueCat', config.revenueCatApiUrl, now),
  ]);
  findings.push(...checkClock(clocks));
  // Other tables cannot be relied on.
  if (!migrated) return findings;

  const workspaces = await chooseWorkspaces(patient);
  findings.push(...(await checkSecrets(database, workspaces, patient.keys)));
  findings.push(...(await checkWork(database)));
  if (workspaces.length === 0) findings.push(nobody(patient));
  for (let from = 0; from < workspaces.length; from += AT_ONCE) {
    const some = workspaces.slice(from, from + AT_ONCE);
    findings.push(...(await Promise.all(some.map((id) => examineWorkspace(patient, id)))).flat());
  }
  return findings;
}

async function chooseWorkspaces({ database, workspaceId }: Patient): Promise<string[]> {
  if (workspaceId !== null) return (await readWorkspace(database, workspaceId)) ? [workspaceId] : [];
  const rows = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  const workspaces = await Promise.all(rows.map((row) => readWorkspace(database, row.workspace_id)));
  return workspaces.flatMap((each) => (each && each.status !== 'uninstalled' ? [each.workspaceId] : []));
}

function nobody({ config, workspaceId }: Patient): Finding {
  const install = `Install the app at ${config.publicUrl}/install.`;
  return workspaceId === null
    ? warning('workspaces', 'No Intercom workspace has the app installed yet.', install)
    : problem('workspaces', `No workspace ${workspaceId} has the app installed.`, install);
}

async function examineWorkspace(patient: Patient, workspaceId: string): Promise<Finding[]> {
  const { config, database, now } = patient;
  const workspace = await readWorkspace(database, workspaceId);
  if (!workspace) return [];
  const secrets = patient.keys.length === 0 ? null : createSecretBox(patient.keys);
  const accessToken = open(secrets, workspace.accessToken, sealedAs.accessToken(workspaceId));
  const client =
    accessToken === null
      ? null
      : createIntercomClient({
          apiUrl: intercomApiUrl(config.intercom.apiUrl, workspace.region),
          accessToken,
          now,
        });
  const findings = await checkIntercom(workspace, client, config.publicUrl);
  findings.push(...(await checkDeliveries(database, workspaceId)));
  findings.push(...(await checkRetention(database, workspaceId, config.payloadRetentionDays)));
  const projects = await listProjects(database, workspaceId);
  if (projects.length === 0) {
    findings.push(
      problem(
        'projects',
        'No RevenueCat project is connected.',
        `Connect one at ${config.publicUrl}/settings/revenuecat, or with "npm run -s cli -- connect --workspace ${workspaceId} --project <proj…> --key <sk_…>".`,
        { workspace: workspaceId },
      ),
    );
  } else findings.push(ok('projects', `${projects.length} connected.`, { workspace: workspaceId }));
  const limiter = createCallLimiter({ database });
  for (const project of projects) {
    const apiKey = open(secrets, project.apiKey, sealedAs.apiKey(workspaceId, project.projectId));
    const revenueCat =
      apiKey === null
        ? null
        : createRevenueCatClient({
            apiUrl: config.revenueCatApiUrl,
            apiKey,
            now,
            gate: limiter.gate(project, 'background'),
          });
    const connectedAtMs = await readConnectedAt(database, workspaceId, project.projectId);
    const setup = { publicUrl: config.publicUrl, nowMs: now(), connectedAtMs };
    findings.push(...(await checkRevenueCat(project, revenueCat, setup)));
  }
  return findings;
}

async function readConnectedAt(database: Database, workspaceId: string, projectId: string): Promise<number> {
  const [row] = await database.query<{ created_at: Date }>(
    'select created_at from projects where workspace_id = $1 and project_id = $2',
    [workspaceId, projectId],
  );
  return row?.created_at.getTime() ?? 0;
}

/** `null`: there is none, or none of the keys opens it; that is a finding of its own. */
function open(secrets: SecretBox | null, sealed: string | null, place: SealedPlace): string | null {
  if (secrets === null || sealed === null) return null;
  try {
    return secrets.open(sealed, place);
  } catch {
    return null;
  }
}
