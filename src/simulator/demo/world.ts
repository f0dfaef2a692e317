import { randomBytes } from 'node:crypto';
import type { Database } from '../../database/sql.ts';
import { insertApiKey, newApiKey, setMessengerSecret } from '../../messenger/api-keys.ts';
import { connectProject } from '../../workspaces/project-connection.ts';
import { saveSettings } from '../../workspaces/repository.ts';
import { type SecretBox, secretLocation } from '../../workspaces/secrets.ts';
import { DEFAULT_SETTINGS } from '../../workspaces/settings.ts';
import type { Canvas } from '../intercom/canvas-rules.ts';
import type { IntercomSimulator } from '../intercom/server.ts';
import { customerFromStory, purchaseStory, type StoryName } from '../revenuecat/scenarios.ts';
import type { RevenueCatSimulator } from '../revenuecat/server.ts';
import { findProject } from '../revenuecat/state.ts';

export const WORKSPACE_ID = 'demo1234';
export const PROJECT_ID = 'projdemo1';
/**
 * The app's HTTPS origin for pictures. Only the simulated Intercom resolves it, because browsers would not trust a
 * certificate of this machine.
 */
export const PICTURES_URL = 'https://app.demo.test';
/** The workspace and project with which a person can try the installation. */
export const OWN_WORKSPACE_ID = 'demogone';
export const OWN_PROJECT_ID = 'projyours';

/** A card that a teammate sent in a conversation. */
interface SharedCard {
  readonly conversationId: string;
  readonly adminName: string;
  /** The canvas from the app's initialize response. It is live, so that each viewer gets their own content. */
  readonly canvas: Canvas;
  /** The card as a teammate sees it; `null`: it could not be drawn. */
  readonly teammateCanvas: Canvas | null;
  readonly atMs: number;
}

/** Both simulated platforms and the running app between them. */
export interface DemoWorld {
  readonly intercom: IntercomSimulator;
  readonly revenueCat: RevenueCatSimulator;
  /** Where the simulated platforms call the app. */
  readonly appUrl: string;
  /** Where browsers open the app's pages. */
  readonly publicUrl: string;
  readonly database: Database;
  readonly secrets: SecretBox;
  /** Intercom stores shared cards itself; neither its API nor its webhooks have them. */
  readonly cards: SharedCard[];
  /** What each conversation is an example of, by conversation ID. */
  readonly labels: Map<string, string>;
}

/** Does what the browser does during an installation from the App Store. */
export async function installApp(
  { intercom, appUrl }: Pick<DemoWorld, 'intercom' | 'appUrl'>,
  who: { workspaceId: string; adminId: string },
): Promise<void> {
  const begin = await fetch(`${appUrl}/install`, { redirect: 'manual' });
  const state = new URL(begin.headers.get('location') ?? '').searchParams.get('state') ?? '';
  const cookie = begin.headers.get('set-cookie')?.split(';')[0] ?? '';
  const code = `${randomBytes(12).toString('base64url')}=`;
  intercom.state.codes.set(code, { ...who, expiresAtMs: Date.now() + 60_000 });
  const query = new URLSearchParams({ code, state });
  const done = await fetch(`${appUrl}/oauth/callback?${query}`, { redirect: 'manual', headers: { cookie } });
  const location = done.headers.get('location') ?? '';
  if (!location.includes('install_success=true'))
    throw new Error(`The demo could not install the app: ${location}`);
}

/** Creates a RevenueCat project, connects it to the workspace and adds the webhook, as an admin does. */
export async function connect(
  world: Pick<DemoWorld, 'revenueCat' | 'database' | 'secrets' | 'publicUrl'>,
  project: { workspaceId: string; projectId: string; name: string },
): Promise<{ apiKey: string }> {
  const { revenueCat, database, secrets, publicUrl } = world;
  const { workspaceId, projectId, name } = project;
  revenueCat.addProject({ id: projectId, name });
  const apiKey = revenueCat.issueKey(projectId);
  const connection = await connectProject(
    { database, secrets, publicUrl },
    { workspaceId, revenueCatProjectId: projectId, apiKey, name },
  );
  revenueCat.addWebhook(projectId, {
    url: connection.webhookUrl,
    authorizationHeader: connection.webhookAuthorization,
  });
  return { apiKey };
}

/** Adds a customer with a history to the API, and sends the history as webhooks in order. */
export async function addCustomer(
  { revenueCat }: Pick<DemoWorld, 'revenueCat'>,
  projectId: string,
  customer: { story: StoryName; appUserId: string; email: string },
): Promise<void> {
  const { appUserId, email } = customer;
  const { appId } = findProject(revenueCat.state, projectId);
  const story = purchaseStory(customer.story, { appUserId, email, appId, nowMs: Date.now() });
  customerFromStory(revenueCat.state, projectId, story);
  for (const event of story.events) await revenueCat.sendWebhook(projectId, event);
}

/**
 * Stores a Messenger secret and creates an API key, as an admin does on the settings page.
 *
 * @returns the key, for the customer's backend
 */
export async function connectMessenger(
  { database, secrets }: Pick<DemoWorld, 'database' | 'secrets'>,
  workspaceId: string,
): Promise<string> {
  const secret = randomBytes(32).toString('hex');
  const encrypted = secrets.encrypt(secret, secretLocation.messengerSecret(workspaceId));
  await setMessengerSecret(database, workspaceId, encrypted);
  const { key, stored } = newApiKey('messenger', workspaceId);
  const createdBy = { id: '1001', name: 'Alex Agent', email: 'alex@example.com' };
  await insertApiKey(database, { ...stored, name: 'Sample backend', createdBy });
  return key;
}

/** Turns on every store action, as an admin does under Settings › Grants: they are off in a new workspace. */
export async function turnOnStoreActions(
  { database }: Pick<DemoWorld, 'database'>,
  workspaceId: string,
): Promise<void> {
  const { actions } = DEFAULT_SETTINGS;
  const on = Object.fromEntries(
    Object.entries(actions).map(([kind, policy]) => [kind, { ...policy, enabled: true }]),
  );
  await saveSettings(database, workspaceId, { actions: { ...actions, ...on } });
}
