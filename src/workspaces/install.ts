import { updateRows, WorkspaceEntity } from '../database/entities.ts';
import type { Entities } from '../database/sql.ts';
import { forbidden, isRefused } from '../errors.ts';
import {
  createIntercomClient,
  exchangeCode,
  type IntercomClient,
  type IntercomMe,
  intercomApiUrl,
} from '../intercom/client.ts';
import { provisionAttributes } from '../intercom/data-attributes.ts';
import { withTimeout } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { auditAdmin } from './audit.ts';
import { deleteDisconnectedSecrets } from './project-connection.ts';
import { retryRefused } from './refusals.ts';
import {
  type Admin,
  deleteAccess,
  describeWorkspace,
  eraseUninstalled,
  listAbandoned,
  listInstalled,
  lookUpContacts,
  readWorkspace,
  saveSettings,
  storeInstallation,
  type Workspace,
} from './repository.ts';
import { decryptOrNull, secretLocation } from './secrets.ts';
import { deleteExpiredSessions } from './sessions.ts';

export type Purpose = 'install' | 'signin';

/**
 * Handles the code of the OAuth callback: reads the admin, stores the token and provisions the contact attributes.
 * Installing again replaces the token and resumes deliveries. A sign-in leaves a working token alone.
 *
 * @throws AppError when Intercom refuses the code, or the admin's e-mail is not verified
 */
export async function install(
  app: AppContext,
  code: string,
  purpose: Purpose,
): Promise<{ readonly workspaceId: string; readonly admin: Admin }> {
  const { config, database, now } = app;
  // The token may belong to any region; only the US host is documented for the exchange and for `/me`.
  const apiUrl = intercomApiUrl(config.intercom.apiUrl, 'US');
  const { clientId, clientSecret } = config.intercom;
  const accessToken = await exchangeCode({ apiUrl, clientId, clientSecret, code, now });
  const me = await createIntercomClient({ apiUrl, accessToken, now }).me();
  const workspaceId = me.app.id_code;
  const admin = { id: me.id, name: me.name, email: me.email };
  const before = await readWorkspace(database, workspaceId);
  if (!me.email_verified) {
    if (before) await auditAdmin(database, { workspaceId, admin }, { action: 'sign_in_refused' });
    throw forbidden('Verify your email address in Intercom first, then try again');
  }
  if (purpose === 'install' || before?.status !== 'connected' || !(await hasWorkingToken(app, before)))
    await storeWorkspace(app, before, { me, accessToken, admin });
  return { workspaceId, admin };
}

/**
 * Whether a key decrypts the stored token (the key may be missing in `ENCRYPTION_KEYS`) and Intercom still accepts it.
 * UNVERIFIED: a new sign-in, which creates another token, may end the stored one.
 */
async function hasWorkingToken(app: AppContext, workspace: Workspace): Promise<boolean> {
  const { workspaceId, accessToken: encrypted } = workspace;
  const location = secretLocation.accessToken(workspaceId);
  if (encrypted === null || decryptOrNull(app.secrets, { encrypted, location }) === null) return false;
  const client = app.intercom(workspace, { timeoutMs: BROWSER_WAIT_MS });
  return client !== null && !(await isRefused(client.me()).catch(() => false));
}

async function storeWorkspace(
  app: AppContext,
  before: Workspace | null,
  { me, accessToken, admin }: { me: IntercomMe; accessToken: string; admin: Admin },
): Promise<void> {
  const { database } = app;
  const workspaceId = me.app.id_code;
  const { region } = me.app;
  await storeInstallation(database, {
    workspaceId,
    ...describeWorkspace(me),
    region,
    accessToken: app.secrets.encrypt(accessToken, secretLocation.accessToken(workspaceId)),
  });
  // The admins who were selected before may have left.
  if (before?.status === 'uninstalled')
    await saveSettings(database, workspaceId, { access: { admins: null } });
  await retryRefused(database, workspaceId);
  // Intercom sent no contact webhooks while the app was uninstalled, even if we never noticed the uninstall.
  await lookUpContacts(database, workspaceId);
  await auditAdmin(database, { workspaceId, admin }, { action: 'installed' });
  app.logger.info({ workspaceId, region, again: before !== null }, 'installed');
  await provisionInTime(app, workspaceId);
  await app.jobs.send('workspace.health', { workspaceId });
}

/** The browser waits at most this long. Provisioning attributes usually takes a second. */
const BROWSER_WAIT_MS = 2_000;
/** After this time a job provisions again, in case the first attempt failed or this process ended before it. */
const PROVISION_AGAIN_S = 30;

async function provisionInTime(app: AppContext, workspaceId: string): Promise<void> {
  await app.jobs.send('workspace.provision', { workspaceId }, { afterSeconds: PROVISION_AGAIN_S });
  const provisioning = provisionWorkspace(app, workspaceId).catch((error: unknown) =>
    app.logger.warn({ err: error, workspaceId }, 'attributes are provisioned later'),
  );
  await withTimeout(provisioning, BROWSER_WAIT_MS, () => null);
}

/** Creates the missing contact attributes. @returns `null` when the workspace is not connected */
export async function provisionWorkspace(app: AppContext, workspaceId: string) {
  const workspace = await readWorkspace(app.database, workspaceId);
  const client = workspace?.status === 'connected' ? app.intercom(workspace) : null;
  if (!client) return null;
  const result = await provisionWith(client, app.database, workspaceId);
  if (result.failed.length > 0) app.logger.warn({ workspaceId, failed: result.failed }, 'attributes missing');
  return result;
}

/** Creates the missing contact attributes, and stores whether all of them exist. */
export async function provisionWith(client: IntercomClient, database: Entities, workspaceId: string) {
  const result = await provisionAttributes(client);
  const attributesReady = result.failed.length === 0;
  await updateRows(database, WorkspaceEntity, { workspaceId }, { attributesReady });
  return result;
}

/**
 * Acts on an uninstall notice, which carries only a workspace id and may be unsigned (UNVERIFIED): access is deleted
 * only if Intercom refuses the stored token.
 *
 * @throws AppError when Intercom cannot be reached; the caller retries
 */
export async function confirmUninstall(app: AppContext, workspaceId: string) {
  const { database, logger } = app;
  const workspace = await readWorkspace(database, workspaceId);
  const client = workspace && app.intercom(workspace);
  if (!client) return 'unknown';
  if (!(await isRefused(client.me()))) {
    logger.warn({ workspaceId }, 'uninstall notice ignored: the token still works');
    return 'still_installed';
  }
  if (!(await deleteAccess(database, workspace))) return 'still_installed';
  logger.info({ workspaceId }, 'uninstalled');
  return 'uninstalled';
}

/**
 * Uninstalls from our side: Intercom ends the installation, then access is deleted.
 *
 * @throws AppError when Intercom cannot be reached; nothing has changed then
 */
export async function uninstall(app: AppContext, workspaceId: string): Promise<void> {
  const workspace = await readWorkspace(app.database, workspaceId);
  const client = workspace && app.intercom(workspace);
  if (!client) return;
  // A revoked token has no installation left to end.
  await isRefused(client.uninstall());
  await deleteAccess(app.database, workspace);
  app.logger.info({ workspaceId }, 'uninstalled from the settings');
}

/** A token that has been refused for this long means that the app was uninstalled and the notice was lost. */
const ABANDONED_AFTER_DAYS = 30;
/** Data of a workspace that uninstalled the app is kept for this long, then erased. */
const KEEP_UNINSTALLED_DAYS = 30;
/** The checks of all workspaces are spread over this time, s. */
const SPREAD_S = 3_600;

/** Runs daily: ends abandoned installations, erases old ones, and cleans up all others and queues their checks. */
export async function checkInstallations(app: AppContext): Promise<void> {
  const { database, jobs, logger } = app;
  for (const workspace of await listAbandoned(database, ABANDONED_AFTER_DAYS)) {
    if (await deleteAccess(database, workspace))
      logger.info(
        { workspaceId: workspace.workspaceId },
        `disconnected for ${ABANDONED_AFTER_DAYS} days: treating the app as uninstalled`,
      );
  }
  const erased = await eraseUninstalled(database, KEEP_UNINSTALLED_DAYS);
  if (erased.length > 0) logger.info({ workspaces: erased.length }, 'erased uninstalled workspaces');
  for (const [index, workspaceId] of (await listInstalled(database)).entries()) {
    await deleteDisconnectedSecrets(app, workspaceId);
    await deleteExpiredSessions(app, workspaceId);
    await jobs.send('workspace.check', { workspaceId }, { afterSeconds: index % SPREAD_S });
  }
}
