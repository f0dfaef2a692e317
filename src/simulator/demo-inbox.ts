import type { Router } from 'express';
import { badRequest, notFound } from '../errors.ts';
import { ACTIONS, happen } from './demo-actions.ts';
import { createInboxPage } from './inbox-page/router.ts';
import type { Canvas } from './intercom/canvas-rules.ts';
import type { IntercomSimulator } from './intercom/server.ts';
import type { Contact, Conversation } from './intercom/state.ts';
import type { StoryName } from './revenuecat/scenarios.ts';
import type { RevenueCatSimulator } from './revenuecat/server.ts';
import type { Customer } from './revenuecat/state.ts';
import type { SharedCards } from './shared-cards.ts';

interface DemoInbox {
  readonly intercom: IntercomSimulator;
  readonly revenueCat: RevenueCatSimulator;
  /** Where the app is called. */
  readonly appUrl: string;
  /** Where its pages are opened in a browser. */
  readonly linkUrl: string;
  readonly workspaceId: string;
  readonly projectId: string;
  /** By app user id. */
  readonly stories: ReadonlyMap<string, StoryName>;
  readonly cards: SharedCards;
  /** What a conversation shows, by its id, where no story says it. */
  readonly labels: ReadonlyMap<string, string>;
}

interface Fault {
  readonly name: string;
  readonly label: string;
  start(): () => void;
}

/** Connects the inbox page to the simulators. */
export function createDemoInbox(demo: DemoInbox): Router {
  const { intercom, revenueCat, workspaceId } = demo;
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
    const contact = intercom.state.contacts.get(id);
    if (!contact) throw notFound('No such contact');
    return contact;
  };
  const conversationOf = (id: string): Conversation => {
    const conversation = intercom.state.conversations.get(id);
    if (!conversation) throw notFound('No such conversation');
    return conversation;
  };
  const customerOf = (contact: Contact): Customer | undefined =>
    revenueCat.state.projects.get(demo.projectId)?.customers.get(contact.externalId ?? '');

  /** As Intercom does: the Messenger side is asked for the card, and it has not been seen yet. */
  async function cardForReply(conversationId: string, cardCreationOptions: Record<string, unknown>) {
    const { canvas, problems } = await intercom.callCanvas({
      appUrl: demo.appUrl,
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

  return createInboxPage({
    appUrl: demo.linkUrl,
    workspaceId,
    timeZone: intercom.state.workspaces.get(workspaceId)?.timezone ?? 'UTC',
    async listConversations() {
      return [...intercom.state.conversations.values()].map((conversation) => {
        const contact = contactOf(conversation.contactIds[0] ?? '');
        return {
          id: conversation.id,
          contactId: contact.id,
          contactName: contact.name ?? 'Visitor',
          contactEmail: contact.email ?? '',
          snippet: conversation.body.replaceAll(/<[^>]+>/g, ' ').trim(),
          story:
            demo.labels.get(conversation.id) ??
            (demo.stories.get(contact.externalId ?? '') ?? 'unknown').replaceAll('_', ' '),
        };
      });
    },
    async readConversation(id) {
      const conversation = conversationOf(id);
      const contact = contactOf(conversation.contactIds[0] ?? '');
      return {
        id,
        contactId: contact.id,
        messages: [
          {
            author: 'customer' as const,
            authorName: contact.name ?? 'Visitor',
            html: conversation.body,
            atMs: conversation.createdAtS * 1_000,
          },
          ...conversation.parts.map((part) => ({
            author: part.partType === 'note' ? ('note' as const) : ('admin' as const),
            authorName:
              [...intercom.state.admins.values()].find((admin) => admin.id === part.authorId)?.name ??
              'Teammate',
            html: part.body,
            atMs: part.createdAtS * 1_000,
          })),
          ...demo.cards.of(conversation.id).map((card) => ({
            author: 'admin' as const,
            authorName: card.adminName,
            html: '<p>Here is your subscription:</p>',
            atMs: card.atMs,
            hasCard: true,
          })),
        ].sort((a, b) => a.atMs - b.atMs),
      };
    },
    async readContact(id) {
      const contact = contactOf(id);
      return {
        id,
        externalId: contact.externalId,
        email: contact.email,
        name: contact.name,
        role: contact.role,
        customAttributes: contact.customAttributes,
        events: intercom.state.events
          .filter((event) => event.contactId === id)
          .map(({ name, createdAtS, metadata }) => ({ name, createdAtS, metadata })),
      };
    },
    async listAdmins() {
      return [...intercom.state.admins.values()]
        .filter(({ isBot }) => !isBot)
        .map(({ id, name }) => ({ id, name }));
    },
    async callCanvas({ flow, adminId, conversationId, contactId, componentId, inputValues, currentCanvas }) {
      const answer = await intercom.callCanvas({
        appUrl: demo.appUrl,
        workspaceId: conversationOf(conversationId).workspaceId,
        place: 'inbox',
        flow,
        adminId,
        conversationId,
        contactId,
        ...(componentId === undefined ? {} : { componentId }),
        ...(inputValues === undefined ? {} : { inputValues }),
        ...(currentCanvas === undefined ? {} : { currentCanvas: currentCanvas as Canvas }),
      });
      return answer.canvas === null
        ? { ok: false, problems: answer.problems, status: answer.status }
        : {
            ok: true,
            canvas: answer.canvas,
            findings: answer.findings,
            ...(answer.cardCreationOptions === null
              ? {}
              : { replyCard: await cardForReply(conversationId, answer.cardCreationOptions) }),
          };
    },
    async sendMessage({ conversationId, adminId, kind, text }) {
      const conversation = conversationOf(conversationId);
      conversation.parts.push({
        id: String(Number(conversation.id) * 1_000 + conversation.parts.length + 1),
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
      demo.cards.add({
        conversationId: conversationOf(conversationId).id,
        adminName: intercom.state.admins.get(adminId)?.name ?? 'Teammate',
        canvas: canvas as Canvas,
        atMs: Date.now(),
      });
    },
    async listActions(contactId) {
      const customer = customerOf(contactOf(contactId));
      return customer?.events.length ? ACTIONS.map(({ id, label }) => ({ id, label })) : [];
    },
    async runAction(contactId, actionId) {
      const customer = customerOf(contactOf(contactId));
      const action = ACTIONS.find((candidate) => candidate.id === actionId);
      const event = customer && action && happen(customer, action, Date.now());
      if (!event) throw notFound('Nothing can happen to this customer');
      const answers = await revenueCat.sendWebhook(demo.projectId, event);
      return {
        message: `${action.label}: webhook answered ${answers.map((answer) => answer.status).join(', ')}`,
      };
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

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
