import escapeHtml from 'escape-html';
import type { Router } from 'express';
import { badRequest, notFound } from '../../errors.ts';
import type { Canvas } from '../intercom/canvas-rules.ts';
import { addPart, type Contact, type Conversation } from '../intercom/state.ts';
import type { Customer, Project } from '../revenuecat/state.ts';
import { ACTIONS, possibleActions, runAction } from './actions.ts';
import { createInboxPage, type InboxMessage } from './inbox-page.ts';
import {
  type DemoWorld,
  OWN_PROJECT_ID,
  OWN_WORKSPACE_ID,
  PICTURES_URL,
  PROJECT_ID,
  WORKSPACE_ID,
} from './world.ts';

interface Fault {
  readonly name: string;
  readonly label: string;
  start(): () => void;
}

/** Conversations with this ID or a higher one show states of the card instead of tickets. */
const FIRST_STATE_ID = 599;

/** Connects the inbox page to the simulators. */
export function createDemoInbox(world: DemoWorld): Router {
  const { intercom, revenueCat, cards } = world;
  const { state } = intercom;
  const faults: readonly Fault[] = [
    {
      name: 'rc-slow',
      label: 'RevenueCat is slow',
      start: () => revenueCat.faults.add({ latencyMs: 6_000 }),
    },
    { name: 'rc-down', label: 'RevenueCat is down', start: () => revenueCat.faults.add({ status: 503 }) },
    {
      name: 'ic-429',
      label: 'Intercom says 429',
      start: () => intercom.faults.add({ status: 429, pathPrefix: '/events' }),
    },
  ];
  const running = new Map<string, () => void>();

  const contactOf = (id: string): Contact => {
    const contact = state.contacts.get(id);
    if (!contact) throw notFound('No such contact');
    return contact;
  };
  const conversationOf = (id: string): Conversation => {
    const conversation = state.conversations.get(id);
    if (!conversation) throw notFound('No such conversation');
    return conversation;
  };
  const customerOf = (contact: Contact): { project: Project; customer: Customer } | null => {
    const projectId = contact.workspaceId === OWN_WORKSPACE_ID ? OWN_PROJECT_ID : PROJECT_ID;
    const project = revenueCat.state.projects.get(projectId);
    const customer = project?.aliases.get(contact.externalId ?? '');
    return project && customer ? { project, customer } : null;
  };

  /** Like Intercom, requests the card from the app's Messenger URL, before any customer has seen it. */
  async function cardForReply(conversationId: string, cardCreationOptions: Record<string, unknown>) {
    const { canvas, problems } = await intercom.callCanvas({
      appUrl: world.appUrl,
      workspaceId: conversationOf(conversationId).workspaceId,
      place: 'messenger',
      flow: 'initialize',
      location: 'conversation',
      conversationId,
      cardCreationOptions,
    });
    if (canvas === null) throw badRequest(`No card for the reply: ${problems.join(', ')}`);
    return canvas;
  }

  /** Intercom requests a live card without a contact when a teammate looks at it. */
  async function teammateView(conversation: Conversation, canvas: Canvas): Promise<Canvas | null> {
    if (canvas.content_url === undefined) return canvas;
    const answer = await intercom.callCanvas({
      appUrl: world.appUrl,
      workspaceId: conversation.workspaceId,
      place: 'messenger',
      flow: 'live',
      location: 'conversation',
      conversationId: conversation.id,
      currentCanvas: canvas,
      withoutContact: true,
    });
    return answer.canvas;
  }

  function messagesOf(conversation: Conversation, contact: Contact): InboxMessage[] {
    const customerName = contact.name ?? 'Visitor';
    const first: InboxMessage = {
      author: 'customer',
      authorName: customerName,
      html: withoutQuotes(conversation.body),
      atMs: conversation.createdAtS * 1_000,
    };
    const parts = conversation.parts.map((part): InboxMessage => {
      const isCustomer = part.authorType === 'user';
      return {
        author: part.partType === 'note' ? 'note' : isCustomer ? 'customer' : 'admin',
        authorName: isCustomer ? customerName : (state.admins.get(part.authorId)?.name ?? 'Teammate'),
        html: withoutQuotes(part.body),
        atMs: part.createdAtS * 1_000,
      };
    });
    const shared = cards
      .filter(({ conversationId }) => conversationId === conversation.id)
      .map(
        (card): InboxMessage => ({
          author: 'admin',
          authorName: card.adminName,
          html: '<p>Here is your subscription:</p>',
          atMs: card.atMs,
          card: card.teammateCanvas,
        }),
      );
    return [first, ...parts, ...shared].sort((a, b) => a.atMs - b.atMs);
  }

  return createInboxPage({
    appUrl: world.publicUrl,
    workspaceId: WORKSPACE_ID,
    timeZone: state.workspaces.get(WORKSPACE_ID)?.timezone ?? 'UTC',
    async listConversations() {
      return [...state.conversations.values()].map((conversation) => {
        const contact = contactOf(conversation.contactIds[0] ?? '');
        return {
          id: conversation.id,
          contactId: contact.id,
          contactName: contact.name ?? 'Visitor',
          contactEmail: contact.email ?? '',
          snippet: withoutQuotes(conversation.body)
            .replaceAll(/<[^>]+>/g, ' ')
            .trim(),
          story: world.labels.get(conversation.id) ?? '',
          group: Number(conversation.id) < FIRST_STATE_ID ? 'Tickets' : 'Special cases',
        };
      });
    },
    async readConversation(id) {
      const conversation = conversationOf(id);
      const contact = contactOf(conversation.contactIds[0] ?? '');
      return { id, contactId: contact.id, messages: messagesOf(conversation, contact) };
    },
    async readContact(id) {
      const contact = contactOf(id);
      const descriptions = new Map(
        state.attributes
          .filter(({ workspaceId }) => workspaceId === contact.workspaceId)
          .map(({ name, description }) => [name, description ?? '']),
      );
      return {
        id,
        externalId: contact.externalId,
        email: contact.email,
        name: contact.name,
        role: contact.role,
        customAttributes: contact.customAttributes,
        attributeDescriptions: Object.fromEntries(
          Object.keys(contact.customAttributes).map((name) => [name, descriptions.get(name) ?? '']),
        ),
        events: state.events
          .filter((event) => event.contactId === id)
          .map(({ name, createdAtS, metadata }) => ({ name, createdAtS, metadata })),
      };
    },
    async listAdmins() {
      return [...state.admins.values()]
        .filter(({ isBot, workspaceId }) => !isBot && workspaceId === WORKSPACE_ID)
        .map(({ id, name }) => ({ id, name }));
    },
    async callCanvas(call) {
      const { conversationId } = call;
      const { workspaceId } = conversationOf(conversationId);
      const answer = await intercom.callCanvas({
        ...call,
        appUrl: world.appUrl,
        workspaceId,
        place: 'inbox',
      });
      if (answer.canvas === null) return { ok: false, problems: answer.problems, status: answer.status };
      const options = answer.cardCreationOptions;
      return {
        ok: true,
        canvas: answer.canvas,
        findings: answer.findings,
        ...(options === null ? {} : { replyCard: await cardForReply(conversationId, options) }),
      };
    },
    async loadImage(url) {
      const { origin, pathname } = new URL(url);
      if (origin !== PICTURES_URL) throw notFound('No such image');
      const response = await fetch(`${world.appUrl}${pathname}`);
      if (!response.ok) throw notFound(`The app answered with HTTP ${response.status}.`);
      const type = response.headers.get('content-type') ?? 'application/octet-stream';
      return { type, body: Buffer.from(await response.arrayBuffer()) };
    },
    async sendMessage({ conversationId, adminId, kind, text }) {
      const conversation = conversationOf(conversationId);
      addPart(conversation, {
        partType: kind === 'note' ? 'note' : 'comment',
        authorType: 'admin',
        authorId: adminId,
        body: text
          .split(/\n{2,}/)
          .map((paragraph) => `<p>${escapeHtml(paragraph).replaceAll('\n', '<br>')}</p>`)
          .join(''),
        createdAtS: Math.floor(Date.now() / 1_000),
      });
    },
    async sendCard({ conversationId, adminId, canvas }) {
      const conversation = conversationOf(conversationId);
      cards.push({
        conversationId: conversation.id,
        adminName: state.admins.get(adminId)?.name ?? 'Teammate',
        canvas,
        teammateCanvas: await teammateView(conversation, canvas),
        atMs: Date.now(),
      });
    },
    async listActions(contactId) {
      const found = customerOf(contactOf(contactId));
      return found ? possibleActions(found.customer).map(({ id, label }) => ({ id, label })) : [];
    },
    async runAction(contactId, actionId) {
      const found = customerOf(contactOf(contactId));
      const action = ACTIONS.find(({ id }) => id === actionId);
      const events = found && action ? runAction(found.project, found.customer, action, Date.now()) : [];
      if (!found || events.length === 0) throw notFound('This cannot happen to the customer now');
      for (const event of events) await revenueCat.sendWebhook(found.project.id, event);
      return { message: `RevenueCat sent ${events.map(({ type }) => type).join(', then ')}.` };
    },
    async listFaults() {
      return faults.map(({ name, label }) => ({ name, label, on: running.has(name) }));
    },
    async setFault(name, on) {
      running.get(name)?.();
      running.delete(name);
      const fault = faults.find((candidate) => candidate.name === name);
      if (on && fault) running.set(name, fault.start());
    },
  });
}

/** The inbox hides quoted mail. */
function withoutQuotes(html: string): string {
  const at = html.indexOf('<blockquote>');
  return at < 0 ? html : html.slice(0, at);
}
