import express, { type Router } from 'express';
import { z } from 'zod';
import { isRecord } from '../../text.ts';
import type { Canvas } from '../intercom/canvas-rules.ts';
import { createPageRouter, mountApi, parseInput, readBody, sendPage } from './pages.ts';

interface InboxConversationSummary {
  readonly id: string;
  readonly contactId: string;
  readonly contactName: string;
  readonly contactEmail: string;
  readonly snippet: string;
  /** What this sample customer is an example of, in a few words. */
  readonly story: string;
  /** Heading above the first conversation of a group. */
  readonly group?: string;
}

export interface InboxMessage {
  readonly author: 'customer' | 'admin' | 'note';
  readonly authorName: string;
  /** Intercom's message HTML, or plain text. The page keeps paragraphs, bold, lists and links of it. */
  readonly html: string;
  readonly atMs: number;
  /** A Messenger card in the message, as a teammate sees it; `null`: it could not be drawn. */
  readonly card?: unknown;
}

/** Plain text that a teammate writes: a reply to the customer or a note for the team. */
export interface InboxOwnMessage {
  readonly conversationId: string;
  readonly adminId: string;
  readonly kind: 'reply' | 'note';
  readonly text: string;
}

interface InboxConversation {
  readonly id: string;
  readonly contactId: string;
  readonly messages: readonly InboxMessage[];
}

export interface InboxContact {
  readonly id: string;
  readonly externalId: string | null;
  readonly email: string | null;
  readonly name: string | null;
  readonly role: string;
  readonly customAttributes: Readonly<Record<string, unknown>>;
  /** What each attribute means, as the app described it to Intercom. */
  readonly attributeDescriptions?: Readonly<Record<string, string>>;
  readonly events: readonly {
    readonly name: string;
    readonly createdAtS: number;
    readonly metadata: Readonly<Record<string, unknown>>;
  }[];
}

export interface InboxCanvasCall {
  readonly flow: 'initialize' | 'submit';
  readonly adminId: string;
  readonly conversationId: string;
  readonly contactId: string;
  readonly componentId?: string | undefined;
  readonly inputValues?: Record<string, unknown> | undefined;
  /** The canvas on the screen, as the app last sent it. */
  readonly currentCanvas?: Canvas | undefined;
}

export type InboxCanvasAnswer =
  | {
      readonly ok: true;
      readonly canvas: unknown;
      /** Problems for which Intercom's reviewers would reject a canvas that Intercom can draw. */
      readonly findings?: readonly string[];
      /** A Messenger card that the app puts into the reply. */
      readonly replyCard?: unknown;
    }
  | { readonly ok: false; readonly problems: readonly string[]; readonly status: number };

export interface InboxPageDeps {
  /** Where the app runs; the page links to its settings. */
  readonly appUrl: string;
  readonly workspaceId: string;
  /** IANA name of the workspace's time zone. */
  readonly timeZone: string;
  listConversations(): Promise<readonly InboxConversationSummary[]>;
  readConversation(id: string): Promise<InboxConversation>;
  readContact(id: string): Promise<InboxContact>;
  listAdmins(): Promise<readonly { readonly id: string; readonly name: string }[]>;
  callCanvas(call: InboxCanvasCall): Promise<InboxCanvasAnswer>;
  /** Loads an image of a canvas on the server, as Intercom's image proxy does (UNVERIFIED for Canvas Kit). */
  loadImage(url: string): Promise<{ readonly type: string; readonly body: Buffer }>;
  sendMessage(message: InboxOwnMessage): Promise<void>;
  /** Sends a card that the app added to the reply. */
  sendCard(card: { conversationId: string; adminId: string; canvas: Canvas }): Promise<void>;
  /** Actions that are possible for this customer now. */
  listActions(contactId: string): Promise<readonly { readonly id: string; readonly label: string }[]>;
  runAction(contactId: string, actionId: string): Promise<{ readonly message: string }>;
  listFaults(): Promise<readonly { readonly name: string; readonly label: string; readonly on: boolean }[]>;
  setFault(name: string, on: boolean): Promise<void>;
}

const canvasCallSchema = z.object({
  flow: z.enum(['initialize', 'submit']),
  adminId: z.string().min(1),
  conversationId: z.string().min(1),
  contactId: z.string().min(1),
  componentId: z.string().optional(),
  inputValues: z.record(z.string(), z.unknown()).optional(),
  currentCanvas: z.custom<Canvas>().optional(),
});
const cardSchema = z.object({ adminId: z.string().min(1), canvas: z.custom<Canvas>(isRecord) });
const messageSchema = z.object({
  adminId: z.string().min(1),
  kind: z.enum(['reply', 'note']),
  text: z.string().trim().min(1).max(10_000),
});
const faultSchema = z.object({ on: z.boolean() });
const imageSchema = z.object({ url: z.url({ protocol: /^https$/ }) });
const actionSchema = z.object({ actionId: z.string().min(1) });

/** An inbox to try a card in: conversations, the card beside them, and the contact's attributes and events. */
export function createInboxPage(deps: InboxPageDeps): Router {
  const router = createPageRouter();
  router.get(['/', '/inbox'], (_request, response) => sendPage(response, 'inbox.html'));

  const api = express.Router();
  api.get('/setup', async (_request, response) => {
    const admins = await deps.listAdmins();
    const { appUrl, workspaceId, timeZone } = deps;
    response.json({ appUrl, workspaceId, timeZone, admins });
  });
  api.get('/conversations', async (_request, response) => {
    response.json(await deps.listConversations());
  });
  api.get('/conversations/:id', async (request, response) => {
    const conversation = await deps.readConversation(request.params.id);
    const [contact, actions, faults] = await Promise.all([
      deps.readContact(conversation.contactId),
      deps.listActions(conversation.contactId),
      deps.listFaults(),
    ]);
    response.json({ conversation, contact, actions, faults });
  });
  api.post('/canvas', async (request, response) => {
    const call = readBody(canvasCallSchema, request);
    const startedAt = performance.now();
    const answer = await deps.callCanvas(call);
    response.json({ ...answer, durationMs: Math.round(performance.now() - startedAt) });
  });
  api.get('/image', async (request, response) => {
    const { type, body } = await deps.loadImage(parseInput(imageSchema, request.query).url);
    response.type(type).send(body);
  });
  api.post('/conversations/:id/messages', async (request, response) => {
    await deps.sendMessage({ conversationId: request.params.id, ...readBody(messageSchema, request) });
    response.status(204).end();
  });
  api.post('/conversations/:id/cards', async (request, response) => {
    await deps.sendCard({ conversationId: request.params.id, ...readBody(cardSchema, request) });
    response.status(204).end();
  });
  api.post('/contacts/:id/actions', async (request, response) => {
    const { actionId } = readBody(actionSchema, request);
    response.json(await deps.runAction(request.params.id, actionId));
  });
  api.put('/faults/:name', async (request, response) => {
    await deps.setFault(request.params.name, readBody(faultSchema, request).on);
    response.json(await deps.listFaults());
  });

  mountApi(router, '/inbox/api', api);
  return router;
}
