import { AppError } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { CONTACT_ATTRIBUTES } from '../subscription/attributes.ts';
import type { Workspace } from '../workspaces/store.ts';
import { type Finding, lowerFirst, ok, problem, warning } from './check-result.ts';

/** @param client `null`: there is no token, or the keys at hand do not open it */
export async function checkIntercom(
  workspace: Pick<Workspace, 'workspaceId' | 'name' | 'status' | 'statusReason' | 'accessToken'>,
  client: IntercomClient | null,
  publicUrl: string,
): Promise<Finding[]> {
  const scope = { workspace: workspace.workspaceId };
  const reinstall = `An admin of ${workspace.name} must install the app again at ${publicUrl}/install. Waiting events are then delivered.`;
  if (workspace.status === 'disconnected') {
    return [
      problem(
        'intercom_token',
        `Intercom refuses our access (${workspace.statusReason ?? 'unknown reason'}): deliveries wait.`,
        reinstall,
        scope,
      ),
    ];
  }
  if (client === null && workspace.accessToken !== null) {
    return [
      problem(
        'intercom_token',
        'The access token does not open with the encryption keys: deliveries wait.',
        `Add the key that sealed it to ENCRYPTION_KEYS. Only if it is lost: ${lowerFirst(reinstall)}`,
        scope,
      ),
    ];
  }
  if (client === null) return [problem('intercom_token', 'There is no access token.', reinstall, scope)];
  try {
    await client.me();
  } catch (error) {
    return [tokenFinding(error, reinstall, scope)];
  }
  return [
    ok('intercom_token', 'Intercom accepts our access.', scope),
    ...(await checkAttributes(client, scope)),
  ];
}

function tokenFinding(error: unknown, reinstall: string, scope: { workspace: string }): Finding {
  if (!(error instanceof AppError)) throw error;
  if (error.remedy.kind === 'reauthorise')
    return problem('intercom_token', 'Intercom refuses our access token.', reinstall, scope);
  return problem(
    'intercom_api',
    `Intercom could not be asked: ${error.message}.`,
    'Try again in a minute. If it stays: check the connection to Intercom, and https://www.intercomstatus.com.',
    scope,
  );
}

async function checkAttributes(client: IntercomClient, scope: { workspace: string }): Promise<Finding[]> {
  let existing: Map<string, { type: string; archived: boolean }>;
  try {
    const listed = await client.listDataAttributes();
    existing = new Map(
      listed.map((each) => [each.name, { type: each.data_type, archived: each.archived === true }]),
    );
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return [
      problem(
        'attributes',
        `The contact attributes could not be listed: ${error.message}.`,
        'Install the app again, and grant it the permission to read and write data attributes.',
        scope,
      ),
    ];
  }
  const missing = CONTACT_ATTRIBUTES.filter(({ name }) => existing.get(name)?.archived !== false);
  const odd = CONTACT_ATTRIBUTES.filter(({ name, dataType }) => {
    const found = existing.get(name);
    return found?.archived === false && found.type !== dataType;
  });
  const findings: Finding[] = [];
  if (missing.length > 0) {
    findings.push(
      problem(
        'attributes',
        `${missing.length} of ${CONTACT_ATTRIBUTES.length} contact attributes are missing or archived: ${missing.map(({ name }) => name).join(', ')}.`,
        'Open Settings › Contacts and press the button that makes missing attributes. If Intercom refuses a name, company data or an event uses it: rename that there.',
        scope,
      ),
    );
  }
  if (odd.length > 0) {
    const list = odd.map(({ name, dataType }) => `${name} is ${existing.get(name)?.type}, not ${dataType}`);
    findings.push(
      warning(
        'attributes',
        `Attributes have another type than ours: ${list.join('; ')}. Values that do not fit are left out.`,
        'In Intercom, rename the attribute that was there before (its type cannot be changed), then press the button in Settings › Contacts.',
        scope,
      ),
    );
  }
  return findings.length > 0
    ? findings
    : [ok('attributes', `All ${CONTACT_ATTRIBUTES.length} contact attributes are there.`, scope)];
}
