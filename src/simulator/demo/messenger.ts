import type { Router } from 'express';
import { badRequest, notFound } from '../../errors.ts';
import type { Canvas } from '../intercom/canvas-rules.ts';
import type { Contact, Conversation } from '../intercom/state.ts';
import { createMessengerPage, type MessengerMessage } from '../messenger-page/router.ts';
import type { DemoWorld } from './world.ts';

/**
 * Connects the customer's Messenger to the simulated Intercom.
 *
 * @param apiKey with which the customer's backend requests support links
 */
export function createDemoMessenger(world: DemoWorld, apiKey: string): Router {
  const { intercom, cards } = world;

  const contactOf = (id: string): Contact => {
    const contact = intercom.state.contacts.get(id);
    if (!contact) throw notFound('No such contact');
    return contact;
  };
  const conversationOf = (contact: Contact): Conversation | undefined =>
    [...intercom.state.conversations.values()].find(({ contactIds }) => contactIds.includes(contact.id));

  return createMessengerPage({
    async readPerson(contactId) {
      const contact = contactOf(contactId);
      const conversation = conversationOf(contact);
      const name = contact.name ?? 'Visitor';
      return {
        contactId,
        name,
        role: contact.role,
        conversationId: conversation?.id ?? null,
        messages: conversation ? messagesOf(conversation, name) : [],
      };
    },
    async supportUrl(contactId) {
      const contact = contactOf(contactId);
      const answer = await fetch(`${world.appUrl}/api/messenger/support-link`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({
          user_id: contact.externalId ?? '',
          ...(contact.email === null ? {} : { email: contact.email }),
          ...(contact.name === null ? {} : { name: contact.name }),
        }),
      });
      const body = (await answer.json()) as { url?: string; error?: { message: string } };
      if (body.url === undefined) throw badRequest(body.error?.message ?? 'No link');
      return body.url;
    },
    async callCanvas({ contactId, conversationId, componentId, inputValues, currentCanvas, ...call }) {
      const contact = contactOf(contactId);
      const answer = await intercom.callCanvas({
        ...call,
        appUrl: world.appUrl,
        workspaceId: contact.workspaceId,
        place: 'messenger',
        contactId,
        ...(conversationId === undefined ? {} : { conversationId }),
        ...(componentId === undefined ? {} : { componentId }),
        ...(inputValues === undefined ? {} : { inputValues }),
        ...(currentCanvas === undefined ? {} : { currentCanvas: currentCanvas as Canvas }),
      });
      return answer.canvas === null
        ? { ok: false, problems: answer.problems, status: answer.status }
        : { ok: true, canvas: answer.canvas };
    },
  });

  /** Without notes, which only teammates see. */
  function messagesOf(conversation: Conversation, name: string): MessengerMessage[] {
    const replies = conversation.parts
      .filter((part) => part.partType !== 'note')
      .map((part) => ({
        id: part.id,
        author: part.authorType === 'user' ? ('customer' as const) : ('admin' as const),
        authorName: intercom.state.admins.get(part.authorId)?.name ?? name,
        html: part.body,
        atMs: part.createdAtS * 1_000,
      }));
    const shared = cards.of(conversation.id).map((card) => ({
      id: card.id,
      author: 'admin' as const,
      authorName: card.adminName,
      html: '<p>Here is your subscription:</p>',
      atMs: card.atMs,
      canvas: card.canvas,
    }));
    const first = {
      id: conversation.id,
      author: 'customer' as const,
      authorName: name,
      html: conversation.body,
      atMs: conversation.createdAtS * 1_000,
    };
    return [first, ...[...replies, ...shared].sort((a, b) => a.atMs - b.atMs)];
  }
}
