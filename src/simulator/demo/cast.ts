import { addPart } from '../intercom/state.ts';
import type { StoryName } from '../revenuecat/scenarios.ts';
import { addCustomer, type DemoWorld, PROJECT_ID, WORKSPACE_ID } from './world.ts';

type Message = readonly [from: 'customer' | 'reply' | 'note', text: string];

interface SampleCustomer {
  readonly story: StoryName;
  readonly name: string;
  readonly says: string;
  /** The rest of the conversation. */
  readonly thread?: readonly Message[];
}

const CAST: readonly SampleCustomer[] = [
  {
    story: 'active_monthly',
    name: 'Ann Berg',
    says: 'When will I be charged next?',
    thread: [
      ['reply', 'Hi Ann, let me check that for you.'],
      ['customer', 'Thank you! I would like to know before I change my card.'],
    ],
  },
  { story: 'trial', name: 'Ben Ortiz', says: 'How do I make the most of my trial?' },
  {
    story: 'trial_cancelled',
    name: 'Cleo Marsh',
    says: 'I cancelled. Will you still charge me?',
    thread: [['note', 'She asked the same yesterday by email.']],
  },
  { story: 'cancelled', name: 'Dev Patel', says: 'I cancelled but the app still works?' },
  { story: 'grace_period', name: 'Eva Lind', says: 'I got a message about my card.' },
  { story: 'expired_by_billing', name: 'Finn Doyle', says: 'Why did I lose access?' },
  { story: 'refunded', name: 'Gia Romano', says: 'Did my refund go through?' },
  {
    story: 'granted',
    name: 'Hugo Martin',
    says: 'The app was down all Monday. Can I get something for it?',
    thread: [
      ['note', 'Granted Pro for one month. Reason: outage on Monday'],
      ['reply', 'I am sorry about Monday, Hugo. I have given you a month of Pro.'],
      ['customer', 'Thanks for the free month!'],
    ],
  },
  { story: 'paused', name: 'Ines Costa', says: 'When does my pause end?' },
  {
    story: 'several',
    name: 'Jon Hale',
    says: 'I think I am paying twice.',
    thread: [['reply', 'You have two subscriptions. I am sending you a card that shows both.']],
  },
  { story: 'sandbox_only', name: 'Kim Tester', says: 'My test purchase does not show.' },
  { story: 'no_purchases', name: 'Lea Novak', says: 'What does Pro include?' },
  { story: 'google_monthly', name: 'Mara Klein', says: 'I bought it by accident. Can I get a refund?' },
  {
    story: 'web_monthly',
    name: 'Nils Holm',
    says: 'Please cancel my subscription. Where is my invoice?',
  },
  { story: 'stripe_monthly', name: 'Olga Petrov', says: 'Which card do you charge?' },
];

/** Teammates whose language is sent in the requests. */
const TEAMMATES = [
  ['Lena', 'de'],
  ['Chloé', 'fr'],
  ['Inés', 'es'],
  ['Bia', 'pt-BR'],
  ['Yuki', 'ja'],
] as const;

const FIRST_CONVERSATION = 501;
/** The age of a conversation's first message. */
const HOURS_AGO_S = 3 * 3_600;
const MINUTE_S = 60;

const appUserIdOf = (name: string): string => `user_${name.split(' ')[0]?.toLowerCase() ?? ''}`;
const emailOf = (name: string): string => `${name.toLowerCase().replace(' ', '.')}@example.com`;

/** Teammates, sample customers as contacts, and their conversations. */
export function addPeople({ intercom, labels }: Pick<DemoWorld, 'intercom' | 'labels'>): void {
  intercom.addWorkspace({ id: WORKSPACE_ID, name: 'Sample Support', timezone: 'America/New_York' });
  intercom.addAdmin(WORKSPACE_ID, { id: '1001', name: 'Alex Agent', email: 'alex@example.com' });
  intercom.addAdmin(WORKSPACE_ID, { id: '1002', name: 'Sam Support', email: 'sam@example.com' });
  for (const [index, [name, locale]] of TEAMMATES.entries())
    intercom.addAdmin(WORKSPACE_ID, { id: String(1011 + index), name: `${name} (${locale})`, locale });
  for (const [index, person] of CAST.entries()) {
    const id = String(FIRST_CONVERSATION + index);
    const { name, says, story, thread = [] } = person;
    const contact = intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: appUserIdOf(name),
      email: emailOf(name),
      name,
    });
    const createdAtS = Math.floor(Date.now() / 1_000) - HOURS_AGO_S + index * MINUTE_S;
    const body = `<p>${says}</p>`;
    const conversation = intercom.addConversation(WORKSPACE_ID, {
      id,
      contactIds: [contact.id],
      body,
      createdAtS,
    });
    for (const [at, [from, text]] of thread.entries()) {
      addPart(conversation, {
        partType: from === 'note' ? 'note' : 'comment',
        authorType: from === 'customer' ? 'user' : 'admin',
        authorId: from === 'customer' ? contact.id : '1001',
        body: `<p>${text}</p>`,
        createdAtS: createdAtS + (at + 1) * 5 * MINUTE_S,
      });
    }
    labels.set(id, story.replaceAll('_', ' '));
  }
  const lead = intercom.addContact(WORKSPACE_ID, {
    role: 'lead',
    name: 'A visitor',
    email: 'visitor@example.com',
  });
  intercom.addConversation(WORKSPACE_ID, {
    id: '599',
    contactIds: [lead.id],
    body: '<p>Hi, I pay for Pro but I am not signed in here.</p><p>User ID: user_ann</p>',
  });
  labels.set('599', 'named in the conversation');
}

/** The sample customers' purchases, each customer's webhooks in order. */
export async function addPurchases(world: Pick<DemoWorld, 'revenueCat'>): Promise<void> {
  world.revenueCat.addEntitlement(PROJECT_ID, 'pro', 'Pro');
  world.revenueCat.addEntitlement(PROJECT_ID, 'team', 'Team');
  await Promise.all(
    CAST.map(({ story, name }) =>
      addCustomer(world, PROJECT_ID, { story, appUserId: appUserIdOf(name), email: emailOf(name) }),
    ),
  );
}
