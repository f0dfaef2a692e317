import express, { type Router } from 'express';
import { z } from 'zod';
import { badRequest, notFound } from '../../errors.ts';
import type { Canvas } from '../intercom/canvas-rules.ts';
import type { Contact, Conversation } from '../intercom/state.ts';
import { createPageRouter, mountApi, readBody, sendPage } from './pages.ts';
import type { DemoWorld } from './world.ts';

const canvasCallSchema = z.object({
  flow: z.enum(['initialize', 'submit', 'live']),
  contactId: z.string().min(1),
  location: z.enum(['home', 'conversation']),
  locale: z.string().regex(/^[A-Za-z-]{2,10}$/),
  conversationId: z.string().optional(),
  componentId: z.string().optional(),
  inputValues: z.record(z.string(), z.unknown()).optional(),
  currentCanvas: z.custom<Canvas>().optional(),
});

/**
 * The customer's Messenger: its home with the app's card, and the conversation with the cards in it.
 *
 * @param apiKey the key with which the customer's backend requests support links
 */
export function createDemoMessenger(world: DemoWorld, apiKey: string): Router {
  const { intercom, appUrl } = world;
  const contactOf = (id: string): Contact => {
    const contact = intercom.state.contacts.get(id);
    if (!contact) throw notFound('No such contact');
    return contact;
  };
  const router = createPageRouter();
  router.get('/messenger', (request, response) => {
    // The inbox's link names the contact. A URL that someone typed may not.
    if (typeof request.query.contact !== 'string') return response.redirect('/inbox');
    sendPage(response, 'messenger.html', { isFramed: true });
  });

  const api = express.Router();
  api.get('/people/:contactId', (request, response) => {
    const { id: contactId, name, role } = contactOf(request.params.contactId);
    const conversation = [...intercom.state.conversations.values()].find(({ contactIds }) =>
      contactIds.includes(contactId),
    );
    const shownName = name ?? 'Visitor';
    response.json({
      contactId,
      name: shownName,
      role,
      conversationId: conversation?.id ?? null,
      messages: conversation ? messagesOf(world, conversation, shownName) : [],
    });
  });
  /** Does what the customer's own backend does when they tap on help: gets a fresh link to the support page. */
  api.get('/people/:contactId/support', async (request, response) => {
    const { externalId, email, name } = contactOf(request.params.contactId);
    const answer = await fetch(`${appUrl}/api/messenger/support-link`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({
        user_id: externalId ?? '',
        email: email ?? undefined,
        name: name ?? undefined,
      }),
    });
    const body = (await answer.json()) as { url?: string; error?: { message: string } };
    if (body.url === undefined) throw badRequest(body.error?.message ?? 'No link');
    response.redirect(302, body.url);
  });
  api.post('/canvas', async (request, response) => {
    const call = readBody(canvasCallSchema, request);
    const { workspaceId } = contactOf(call.contactId);
    const { canvas, problems, status } = await intercom.callCanvas({
      ...call,
      appUrl,
      workspaceId,
      place: 'messenger',
    });
    response.json(canvas === null ? { ok: false, problems, status } : { ok: true, canvas });
  });
  mountApi(router, '/messenger/api', api);
  return router;
}

/** The messages without notes, which only teammates see. */
function messagesOf({ intercom, cards }: DemoWorld, conversation: Conversation, name: string) {
  const replies = conversation.parts
    .filter((part) => part.partType !== 'note')
    .map((part) => ({
      author: part.authorType === 'user' ? 'customer' : 'admin',
      authorName: intercom.state.admins.get(part.authorId)?.name ?? name,
      html: part.body,
      atMs: part.createdAtS * 1_000,
    }));
  const shared = cards
    .filter(({ conversationId }) => conversationId === conversation.id)
    .map((card) => ({
      author: 'admin',
      authorName: card.adminName,
      html: '<p>Here is your subscription:</p>',
      atMs: card.atMs,
      canvas: card.canvas,
    }));
  const first = {
    author: 'customer',
    authorName: name,
    html: conversation.body,
    atMs: conversation.createdAtS * 1_000,
  };
  return [first, ...[...replies, ...shared].sort((a, b) => a.atMs - b.atMs)];
}
