import { readWorkspace, saveSettings } from '../../workspaces/repository.ts';
import { pressableIds } from '../intercom/canvas-rules.ts';
import {
  addCustomer,
  connect,
  type DemoWorld,
  installApp,
  OWN_PROJECT_ID,
  OWN_WORKSPACE_ID,
  PROJECT_ID,
  WORKSPACE_ID,
} from './world.ts';

/** A conversation that shows one state of the card. */
interface StateConversation {
  readonly id: string;
  readonly label: string;
  readonly name: string;
  readonly says: string;
  readonly contact: { role?: 'user' | 'lead'; externalId?: string; email?: string };
  readonly workspaceId?: string;
  readonly quotingReplies?: number;
}

const CONVERSATIONS: readonly StateConversation[] = [
  {
    id: '601',
    label: 'long history',
    name: 'Tom Reed',
    says: 'What did I pay all that time?',
    contact: { externalId: 'user_tom', email: 'tom.reed@example.com' },
    quotingReplies: 8,
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
  },
  {
    id: '610',
    label: 'not installed',
    name: 'Uma Nair',
    says: 'I just started my trial. What happens next?',
    contact: { externalId: 'user_uma', email: 'uma.nair@example.com' },
    workspaceId: OWN_WORKSPACE_ID,
  },
];

const LONG_EMAIL = '<p>Thank you for your order. Please keep this receipt for your records.</p>'.repeat(400);

/**
 * One conversation for each state of the card that no sample customer is in, with real stored data behind it:
 * workspaces are installed, projects connected and keys rejected through the app's own routes.
 */
export async function addStates(world: DemoWorld): Promise<void> {
  const { intercom, revenueCat, database } = world;
  const settings = await readWorkspace(database, WORKSPACE_ID);
  if (settings) {
    const contacts = { ...settings.settings.contacts, matchByEmail: true };
    await saveSettings(database, WORKSPACE_ID, { contacts });
  }
  const [rejectedKey] = await Promise.all([
    addWorkspace(world, 'demokey', [['projkey1', 'Expired Key App']]),
    addWorkspace(world, 'demonew', []),
    addWorkspace(world, 'demotwo', [
      ['projtwo1', 'First App'],
      ['projtwo2', 'Second App'],
    ]),
    addOwnWorkspace(world),
  ]);
  const customers = [
    [PROJECT_ID, 'active_monthly', 'user_mia', 'mia.wolf@example.com'],
    [PROJECT_ID, 'cancelled', 'user_noa', 'noa@example.com'],
    [PROJECT_ID, 'trial', 'user_noa_2', 'noa@example.com'],
    [PROJECT_ID, 'long_history', 'user_tom', 'tom.reed@example.com'],
    ['projkey1', 'active_monthly', 'user_pia', 'pia@example.com'],
    ['projtwo1', 'active_monthly', 'user_rui', 'rui@example.com'],
    ['projtwo2', 'trial_cancelled', 'user_rui', 'rui@example.com'],
  ] as const;
  await Promise.all(
    customers.map(([projectId, story, appUserId, email]) =>
      addCustomer(world, projectId, { story, appUserId, email }),
    ),
  );
  for (const each of CONVERSATIONS) {
    const { id, name, says, label, quotingReplies = 0 } = each;
    const workspaceId = each.workspaceId ?? WORKSPACE_ID;
    // Sends Intercom's webhook, so that the app delivers the events that wait for this contact.
    const contact = intercom.contacts.create(workspaceId, { role: 'user', name, ...each.contact });
    // Canvas requests contain the whole thread. One of these threads is as large as a long exchange by e-mail.
    const quoted = quotingReplies > 0 ? `<blockquote>${LONG_EMAIL}</blockquote>` : '';
    const body = `<p>${says}</p>${quoted}`;
    intercom.addConversation(workspaceId, { id, contactIds: [contact.id], body, quotingReplies });
    world.labels.set(id, label);
    if (id === '606') intercom.contacts.remove(contact.id);
    if (id === '609') {
      const key = revenueCat.state.keys.get(rejectedKey ?? '');
      if (key) key.status = 'expired';
      await pressRefresh(world, { workspaceId, conversationId: id, contactId: contact.id });
    }
  }
}

/** Adds a workspace with the app installed and projects connected. @returns the key of the first project */
async function addWorkspace(
  world: DemoWorld,
  workspaceId: string,
  projects: readonly (readonly [projectId: string, name: string])[],
): Promise<string | null> {
  const adminId = `${workspaceId}-admin`;
  world.intercom.addWorkspace({ id: workspaceId, name: `Sample ${workspaceId}` });
  world.intercom.addAdmin(workspaceId, { id: adminId, name: 'Ada Admin' });
  await installApp(world, { workspaceId, adminId });
  let firstKey: string | null = null;
  for (const [projectId, name] of projects) {
    const { apiKey } = await connect(world, { workspaceId, projectId, name });
    firstKey ??= apiKey;
  }
  return firstKey;
}

/** Adds the workspace in which the person at the demo can install the app, and a RevenueCat project that has a key. */
async function addOwnWorkspace({ intercom, revenueCat }: DemoWorld): Promise<null> {
  intercom.addWorkspace({ id: OWN_WORKSPACE_ID, name: 'Your workspace' });
  intercom.addAdmin(OWN_WORKSPACE_ID, { id: `${OWN_WORKSPACE_ID}-admin`, name: 'You' });
  revenueCat.addProject({ id: OWN_PROJECT_ID, name: 'Your app' });
  revenueCat.addEntitlement(OWN_PROJECT_ID, 'pro', 'Pro');
  revenueCat.issueKey(OWN_PROJECT_ID);
  const customer = { story: 'trial', appUserId: 'user_uma', email: 'uma.nair@example.com' } as const;
  await addCustomer({ revenueCat }, OWN_PROJECT_ID, customer);
  return null;
}

/** Makes the app notice that RevenueCat rejects its key. If a background refresh was faster, there is no button. */
async function pressRefresh(
  { intercom, appUrl }: DemoWorld,
  card: { workspaceId: string; conversationId: string; contactId: string },
): Promise<void> {
  const call = { ...card, appUrl, place: 'inbox', adminId: '1001' } as const;
  const opened = await intercom.callCanvas({ ...call, flow: 'initialize' });
  if (opened.canvas === null) throw new Error(`The card did not open: ${opened.problems.join(', ')}`);
  if (!pressableIds(opened.canvas).includes('refresh')) return;
  await intercom.callCanvas({
    ...call,
    flow: 'submit',
    componentId: 'refresh',
    currentCanvas: opened.canvas,
  });
}
