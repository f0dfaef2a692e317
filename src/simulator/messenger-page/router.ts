import { join } from 'node:path';
import express, { type ErrorRequestHandler, type Router } from 'express';
import { z } from 'zod';
import { AppError, badRequest } from '../../errors.ts';

export interface MessengerMessage {
  readonly author: 'customer' | 'admin';
  readonly authorName: string;
  /** Intercom's message HTML, or plain text. */
  readonly html: string;
  readonly atMs: number;
  /** A card in the message, as the app initialized it. */
  readonly canvas?: unknown;
  readonly id: string;
}

export interface MessengerPerson {
  readonly contactId: string;
  readonly name: string;
  /** A visitor who is not signed in, or a user whose identity the app has proven. */
  readonly role: 'user' | 'lead';
  readonly conversationId: string | null;
  readonly messages: readonly MessengerMessage[];
}

export interface MessengerCanvasCall {
  readonly flow: 'initialize' | 'submit' | 'live';
  readonly contactId: string;
  readonly location: 'home' | 'conversation';
  readonly locale: string;
  readonly conversationId?: string | undefined;
  readonly componentId?: string | undefined;
  readonly inputValues?: Record<string, unknown> | undefined;
  readonly currentCanvas?: unknown;
}

export type MessengerCanvasAnswer =
  | { readonly ok: true; readonly canvas: unknown }
  | { readonly ok: false; readonly problems: readonly string[]; readonly status: number };

export interface MessengerPageDeps {
  readPerson(contactId: string): Promise<MessengerPerson>;
  callCanvas(call: MessengerCanvasCall): Promise<MessengerCanvasAnswer>;
  /** What the customer's own backend answers when they tap on help: a fresh link to the support page. */
  supportUrl(contactId: string): Promise<string>;
}

const ASSETS = join(import.meta.dirname, 'assets');
/** How canvases are drawn is the inbox page's; its files keep their place beside ours. */
const DRAWING = join(import.meta.dirname, '..', 'inbox-page', 'assets');

/** The page is in a frame of the inbox page, and draws canvases as it does. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' https: data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join('; ');

const callSchema = z.object({
  flow: z.enum(['initialize', 'submit', 'live']),
  contactId: z.string().min(1),
  location: z.enum(['home', 'conversation']),
  locale: z.string().regex(/^[A-Za-z-]{2,10}$/),
  conversationId: z.string().optional(),
  componentId: z.string().optional(),
  inputValues: z.record(z.string(), z.unknown()).optional(),
  currentCanvas: z.unknown().optional(),
});

/** The customer's Messenger: its home with the app's card, and the conversation with the cards in it. */
export function createMessengerPage(deps: MessengerPageDeps): Router {
  const router = express.Router();
  router.get('/messenger', (request, response) => {
    // Whose Messenger it is: the inbox knows, a typed address does not.
    if (typeof request.query.contact !== 'string') return void response.redirect('/inbox');
    response.set('Content-Security-Policy', CONTENT_SECURITY_POLICY);
    response.set('Referrer-Policy', 'no-referrer');
    response.sendFile(join(ASSETS, 'messenger.html'), { cacheControl: false });
  });
  router.use('/inbox-page/assets', express.static(DRAWING, { index: false, cacheControl: false }));
  router.use('/messenger/assets', express.static(ASSETS, { index: false, cacheControl: false }));

  const api = express.Router();
  api.use(express.json({ limit: '512kb' }));
  api.use((_request, response, next) => {
    response.set('Cache-Control', 'no-store');
    next();
  });
  api.get('/people/:contactId', async (request, response) => {
    response.json(await deps.readPerson(request.params.contactId));
  });
  api.get('/people/:contactId/support', async (request, response) => {
    response.redirect(302, await deps.supportUrl(request.params.contactId));
  });
  api.post('/canvas', async (request, response) => {
    const call = callSchema.safeParse(request.body);
    if (!call.success) throw badRequest(z.prettifyError(call.error));
    response.json(await deps.callCanvas(call.data));
  });
  const answerError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const status = error instanceof AppError ? error.status : 500;
    const message = error instanceof Error ? error.message : String(error);
    response.status(status).json({ error: { message } });
  };
  api.use(answerError);
  router.use('/messenger/api', api);
  return router;
}
