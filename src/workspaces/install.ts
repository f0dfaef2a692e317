import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { createIntercomClient, exchangeCode, type IntercomMe, intercomApiUrl } from '../intercom/client.ts';
import { provisionAttributes } from '../intercom/data-attributes.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { withTimeout } from '../time.ts';
import { intercomClientFor } from './clients.ts';
import { resumeRefused } from './health-store.ts';
import { type SecretBox, secretLocation } from './secrets.ts';
import {
  type Admin,
  markAttributesReady,
  readWorkspace,
  saveSettings,
  setIdentityVerification,
  storeInstallation,
} from './store.ts';

export interface InstallContext {
  readonly config: Config;
  readonly database: Database;
  readonly secrets: SecretBox;
  readonly jobs: Jobs;
  readonly logger: Logger;
  now(): number;
}

export interface Installed {
  readonly workspaceId: string;
  /** Whether the workspace did not have the app before. */
  readonly isNew: boolean;
  readonly admin: Admin;
}

/**
 * Installs the app with the code of the OAuth callback: reads who it is, stores the token, makes the contact
 * attributes. Installing again replaces the token and lets deliveries go on.
 *
 * Attributes that cannot be made at once are made in the background: the installation stands without them.
 *
 * @throws AppError when Intercom refuses the code, or the admin's e-mail is not verified
 */
export async function install(context: InstallContext, code: string): Promise<Installed> {
  const { config, database, now } = context;
  // The token may belong to any region; only the US host is documented for the exchange and for `/me`.
  const apiUrl = intercomApiUrl(config.intercom.apiUrl, 'US');
  const { clientId, clientSecret } = config.intercom;
  const accessToken = await exchangeCode({ apiUrl, clientId, clientSecret, code, now });
  const me = await createIntercomClient({ apiUrl, accessToken, now }).me();
  if (!me.email_verified) {
    throw new AppError('forbidden', 'Verify your email address in Intercom first, then try again', {
      status: 403,
    });
  }
  const workspaceId = me.app.id_code;
  const before = await readWorkspace(database, workspaceId);
  const region = regionOf(me);
  await storeInstallation(database, {
    workspaceId,
    name: me.app.name || workspaceId,
    region,
    timezone: validTimeZone(me.app.timezone),
    accessToken: context.secrets.encrypt(accessToken, secretLocation.accessToken(workspaceId)),
    installedBy: { id: me.id, name: me.name, email: me.email },
  });
  await setIdentityVerification(database, workspaceId, me.app.identity_verification);
  const isNew = before === null || before.status === 'uninstalled';
  // Those who could change the settings before may have left: whoever installs anew begins anew.
  if (before?.status === 'uninstalled' && before.settings.access.admins.length > 0)
    await saveSettings(database, workspaceId, 'access', { admins: [] });
  if (before && Object.keys(before.refusals).length > 0) await resumeRefused(database, workspaceId);
  context.logger.info({ workspaceId, region, again: before !== null }, 'installed');
  await provisionSoon(context, workspaceId, provision(context, workspaceId));
  await context.jobs.send('workspace.health', { workspaceId });
  return {
    workspaceId,
    isNew,
    admin: { id: me.id, name: me.name, email: me.email },
  };
}

/** Somebody looks at an empty page meanwhile; usually it takes a second, ms. */
const PROVISION_WAIT_MS = 2_000;
/** For the case that this process ends before it is done, s. */
const PROVISION_AGAIN_S = 60;

async function provisionSoon(
  context: InstallContext,
  workspaceId: string,
  provisioning: Promise<void>,
): Promise<void> {
  if ((await withTimeout(provisioning, PROVISION_WAIT_MS, () => 'late')) !== 'late') return;
  provisioning.catch((error: unknown) =>
    context.logger.error({ err: error, workspaceId }, 'could not make the attributes'),
  );
  await context.jobs.send('workspace.provision', { workspaceId }, { afterSeconds: PROVISION_AGAIN_S });
}

async function provision(context: InstallContext, workspaceId: string): Promise<void> {
  try {
    await provisionWorkspace(context, workspaceId);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    context.logger.warn({ workspaceId, code: error.code }, 'attributes are provisioned later');
    await context.jobs.send('workspace.provision', { workspaceId });
  }
}

/** Makes missing attributes with the stored token; for the background job. */
export async function provisionWorkspace(context: InstallContext, workspaceId: string): Promise<void> {
  const workspace = await readWorkspace(context.database, workspaceId);
  const client = workspace && intercomClientFor(context, workspace);
  if (!client || workspace.status !== 'connected') return;
  const { failed } = await provisionAttributes(client);
  await markAttributesReady(context.database, workspaceId, failed.length === 0);
  if (failed.length > 0) context.logger.warn({ workspaceId, failed }, 'attributes missing');
}

function regionOf(me: IntercomMe): 'US' | 'EU' | 'AU' {
  const region = me.app.region.toUpperCase();
  return region === 'EU' || region === 'AU' ? region : 'US';
}

function validTimeZone(name: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return name;
  } catch {
    return 'UTC';
  }
}
