import type { Database } from '../database/sql.ts';
import { type Connection, connectProject } from '../workspaces/projects.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { readWorkspace, saveSettings } from '../workspaces/store.ts';
import { pressableIds } from './intercom/canvas-rules.ts';
import type { IntercomSimulator } from './intercom/server.ts';
import { customerFromStory, purchaseStory, type StoryName } from './revenuecat/scenarios.ts';
import type { RevenueCatSimulator } from './revenuecat/server.ts';

export interface StatesOptions {
  readonly intercom: IntercomSimulator;
  readonly revenueCat: RevenueCatSimulator;
  /** Where the app is called. */
  readonly appUrl: string;
  readonly database: Database;
  readonly secrets: SecretBox;
  readonly workspaceId: string;
  /** RevenueCat's id of the demo's project. */
  readonly projectId: string;
  /** Installs the app in another workspace. */
  install(workspaceId: string): Promise<void>;
}

/** A conversation that shows one state of the card. */
interface StateConversation {
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly says: string;
  readonly contact: { role?: 'user' | 'lead'; externalId?: string; email?: string };
  readonly workspaceId?: string;
  readonly prepare?: (contactId: string) => Promise<void> | void;
}

/**
 * One conversation for each state of the card that no sample customer is in, with real stored data behind it:
 * other workspaces are installed, projects connected and keys taken away as it would happen.
 *
 * @returns what each conversation shows, by its id
 */
export async function seedStates(options: StatesOptions): Promise<Map<string, string>> {
  const { intercom, revenueCat, workspaceId, projectId } = options;
  const settings = await readWorkspace(options.database, workspaceId);
  if (settings) {
    await saveSettings(options.database, workspaceId, 'contacts', {
      ...settings.settings.contacts,
      matchByEmail: true,
    });
  }
  await tell(revenueCat, projectId, 'active_monthly', 'user_mia', 'mia.wolf@example.com');
  await tell(revenueCat, projectId, 'cancelled', 'user_noa', 'noa@example.com');
  await tell(revenueCat, projectId, 'trial', 'user_noa_2', 'noa@example.com');
  await tell(revenueCat, projectId, 'long_history', 'user_tom', 'tom.reed@example.com');

  await otherWorkspace(options, 'demonew', null);
  const rejectedKey = await otherWorkspace(options, 'demokey', 'projkey1');
  await tell(revenueCat, 'projkey1', 'active_monthly', 'user_pia', 'pia@example.com');
  await otherWorkspace(options, 'demotwo', 'projtwo1');
  await connect(options, 'demotwo', 'projtwo2', 'Second App');
  await tell(revenueCat, 'projtwo1', 'active_monthly', 'user_rui', 'rui@example.com');
  await tell(revenueCat, 'projtwo2', 'trial_cancelled', 'user_rui', 'rui@example.com');
  intercom.addWorkspace({ id: 'demogone', name: 'Not installed' });

  const conversations: readonly StateConversation[] = [
    {
      id: '601',
      label: 'long history',
      name: 'Tom Reed',
      says: 'What did I pay all that time?',
      contact: { externalId: 'user_tom', email: 'tom.reed@example.com' },
    },
    {
      id: '602',
      label: 'possible match',
      name: 'Mia Wolf',
      says: 'I write from my work account.',
      contact: { externalId: 'crm-8841', email: 'mia.wolf@example.com' },
    },
    {
      id: '603',
      label: 'several matches',
      name: 'Noa Levi',
      says: 'I have two accounts, I think.',
      contact: { externalId: 'crm-8842', email: 'noa@example.com' },
    },
    {
      id: '604',
      label: 'no match',
      name: 'Otto Klein',
      says: 'Do you know me?',
      contact: { externalId: 'crm-8843', email: 'otto.klein@example.com' },
    },
    {
      id: '605',
      label: 'anonymous lead',
      name: 'Another visitor',
      says: 'How much is Pro?',
      contact: { role: 'lead' },
    },
    {
      id: '606',
      label: 'contact deleted',
      name: 'Quinn Abbott',
      says: 'Please delete me.',
      contact: { externalId: 'crm-8844' },
      prepare: (contactId) => {
        intercom.contacts.remove(contactId);
      },
    },
    {
      id: '607',
      label: 'several projects',
      name: 'Rui Sousa',
      says: 'I use both of your apps.',
      contact: { externalId: 'user_rui', email: 'rui@example.com' },
      workspaceId: 'demotwo',
    },
    {
      id: '608',
      label: 'not connected',
      name: 'Sara Holm',
      says: 'Am I subscribed?',
      contact: { externalId: 'user_sara' },
      workspaceId: 'demonew',
    },
    {
      id: '609',
      label: 'key rejected',
      name: 'Pia Lund',
      says: 'When do I pay next?',
      contact: { externalId: 'user_pia', email: 'pia@example.com' },
      workspaceId: 'demokey',
      prepare: async (contactId) => {
        const key = revenueCat.state.keys.get(rejectedKey?.apiKey ?? '');
        if (key) key.status = 'expired';
        // The app learns of it like everybody: by asking.
        await refresh(options, { workspaceId: 'demokey', conversationId: '609', contactId });
      },
    },
    {
      id: '610',
      label: 'not installed',
      name: 'Uma Nair',
      says: 'Hello?',
      contact: { externalId: 'user_uma' },
      workspaceId: 'demogone',
    },
  ];
  for (const each of conversations) {
    const workspace = each.workspaceId ?? workspaceId;
    // As Intercom does it: what waited for the contact goes out.
    const contact = intercom.contacts.create(workspace, { role: 'user', name: each.name, ...each.contact });
    intercom.addConversation(workspace, {
      id: each.id,
      contactIds: [contact.id],
      body: `<p>${each.says}</p>`,
    });
    await each.prepare?.(contact.id);
  }
  return new Map(conversations.map(({ id, label }) => [id, label]));
}

/** A customer with a history, as RevenueCat knows and announces it. */
async function tell(
  revenueCat: RevenueCatSimulator,
  projectId: string,
  story: StoryName,
  appUserId: string,
  email: string,
): Promise<void> {
  const told = purchaseStory(story, { appUserId, email, nowMs: Date.now() });
  customerFromStory(revenueCat.state, projectId, told);
  for (const event of told.events) await revenueCat.sendWebhook(projectId, event);
}

async function otherWorkspace(
  options: StatesOptions,
  workspaceId: string,
  projectId: string | null,
): Promise<{ apiKey: string } | null> {
  options.intercom.addWorkspace({ id: workspaceId, name: `Sample ${workspaceId}` });
  options.intercom.addAdmin(workspaceId, { id: `${workspaceId}-admin`, name: 'Ada Admin' });
  await options.install(workspaceId);
  return projectId === null ? null : connect(options, workspaceId, projectId, 'First App');
}

async function connect(
  options: StatesOptions,
  workspaceId: string,
  projectId: string,
  name: string,
): Promise<{ apiKey: string }> {
  const { revenueCat, database, secrets, appUrl } = options;
  revenueCat.addProject({ id: projectId, name });
  const apiKey = revenueCat.issueKey(projectId);
  const connection: Connection = await connectProject(
    { database, secrets, publicUrl: appUrl },
    { workspaceId, revenueCatProjectId: projectId, apiKey, name },
  );
  revenueCat.addWebhook(projectId, {
    url: connection.webhookUrl,
    authorizationHeader: connection.webhookAuthorization,
  });
  return { apiKey };
}

/** Where the app itself has asked already and was refused, there is nothing left to press. */
async function refresh(
  options: StatesOptions,
  card: { workspaceId: string; conversationId: string; contactId: string },
): Promise<void> {
  const call = { ...card, appUrl: options.appUrl, place: 'inbox', adminId: '1001' } as const;
  const opened = await options.intercom.callCanvas({ ...call, flow: 'initialize' });
  if (opened.canvas === null) throw new Error(`The card did not open: ${opened.problems.join(', ')}`);
  if (!pressableIds(opened.canvas).includes('refresh')) return;
  const press = { flow: 'submit', componentId: 'refresh', currentCanvas: opened.canvas } as const;
  await options.intercom.callCanvas({ ...call, ...press });
}
