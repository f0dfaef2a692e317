import type { Router } from 'express';
import { notFound } from '../errors.ts';
import { ACTIONS, happen } from './demo-actions.ts';
import { createInboxPage } from './inbox-page/router.ts';
import type { Canvas } from './intercom/canvas-rules.ts';
import type { IntercomSimulator } from './intercom/server.ts';
import type { Contact, Conversation } from './intercom/state.ts';
import type { StoryName } from './revenuecat/scenarios.ts';
import type { RevenueCatSimulator } from './revenuecat/server.ts';
import type { Customer } from './revenuecat/state.ts';

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
    if (!contact || contact.workspaceId !== workspaceId) throw notFound('No such contact');
    return contact;
  };
  const conversationOf = (id: string): Conversation => {
    const conversation = intercom.state.conversations.get(id);
    if (!conversation) throw notFound('No such conversation');
    return conversation;
  };
  const customerOf = (contact: Contact): Customer | undefined =>
    revenueCat.state.projects.get(demo.projectId)?.customers.get(contact.externalId ?? '');

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
          story: (demo.stories.get(contact.externalId ?? '') ?? 'unknown').replaceAll('_', ' '),
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
        ],
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
      return [...intercom.state.admins.values()].map(({ id, name }) => ({ id, name }));
    },
    async callCanvas({ flow, adminId, conversationId, contactId, componentId, inputValues, currentCanvas }) {
      const answer = await intercom.callCanvas({
        appUrl: demo.appUrl,
        workspaceId,
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
        : { ok: true, canvas: answer.canvas, findings: answer.findings };
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
