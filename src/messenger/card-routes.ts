import { type Request, type RequestHandler, Router } from 'express';
import { badRequest } from '../errors.ts';
import { requestId } from '../http/request-log.ts';
import { type Component, linkButton, text } from '../intercom/canvas.ts';
import { withTimeout } from '../time.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { cardHistory, cardHome, contentOf, liveCanvas, plainCard } from './card.ts';
import { type MessengerCardRequest, readMessengerCardRequest } from './card-request.ts';
import type { MessengerContext } from './context.ts';
import { readOwnCustomers } from './customer.ts';
import { viewCustomer } from './customer-view.ts';
import { refreshBehind } from './support-routes.ts';
import { speechFor } from './words.ts';

/** Intercom states no limit for Canvas Kit (UNVERIFIED: 10 s); webhooks' 5 s is the ceiling that we keep under. */
const DEADLINE_MS = 4_500;

/**
 * The customer's own card in the Messenger: `POST /canvas/messenger/initialize`, `/submit` and `/live`, behind
 * their signature. The customer is read anew from each signed request, so that no canvas can name another one.
 */
export function messengerCardRouter(context: MessengerContext): Router {
  const { readDatabase, publicUrl, now } = context;

  /** What the one who looks may see; `null`: the workspace is none of ours. */
  async function look(request: MessengerCardRequest): Promise<readonly Component[]> {
    const { workspaceId, userId, componentId } = request;
    const speech = speechFor(request.locale);
    const workspace = await readWorkspace(readDatabase, workspaceId);
    if (!workspace || workspace.status === 'uninstalled') return notInstalled(publicUrl);
    if (userId === null) return plainCard(speech.words.signInFirst, speech.words);
    const customers = await readOwnCustomers(readDatabase, workspaceId, userId, now());
    for (const customer of customers) refreshBehind(context, workspaceId, customer);
    const view = viewCustomer(customers, speech, workspace.timezone);
    const page = /^history(?::(\d{1,6}))?$/.exec(componentId ?? '');
    return page ? cardHistory(view, speech.words, Number(page[1] ?? 0)) : cardHome(view, speech.words);
  }

  /** Whatever goes wrong, the customer gets a card with a way on, and the log gets the reason. */
  async function lookInTime(req: Request, request: MessengerCardRequest): Promise<readonly Component[]> {
    const { words } = speechFor(request.locale);
    const about = {
      workspaceId: request.workspaceId,
      component: request.componentId,
      requestId: requestId(req.headers['x-request-id']),
    };
    const answer = look(request).catch((error: unknown) => {
      context.logger.error({ err: error, ...about }, 'customer card failed');
      return plainCard(words.away, words);
    });
    return withTimeout(answer, DEADLINE_MS, () => {
      context.logger.warn(about, 'customer card over its deadline');
      return plainCard(words.away, words);
    });
  }

  const initialize: RequestHandler = async (req, res) => {
    const { workspaceId } = read(req);
    const workspace = await readWorkspace(readDatabase, workspaceId).catch((error: unknown) => {
      // The live view says what is wrong, to the customer and in the log.
      context.logger.error({ err: error, workspaceId }, 'customer card not initialized by its workspace');
      return 'away' as const;
    });
    const isKnown = workspace === 'away' || (workspace !== null && workspace.status !== 'uninstalled');
    res.json({ canvas: isKnown ? liveCanvas(publicUrl) : contentOf(notInstalled(publicUrl)) });
  };

  const submit: RequestHandler = async (req, res) => {
    const request = read(req);
    // Back at the start the card is live again: it stays current from view to view.
    const isStart = request.componentId === null || request.componentId === 'home';
    res.json({
      canvas: isStart ? liveCanvas(publicUrl) : contentOf(await lookInTime(req, request)),
    });
  };

  const live: RequestHandler = async (req, res) => {
    res.json(contentOf(await lookInTime(req, { ...read(req), componentId: null })));
  };

  const router = Router();
  router.post('/initialize', initialize);
  router.post('/submit', submit);
  router.post('/live', live);
  return router;
}

function read(req: Request): MessengerCardRequest {
  const request = readMessengerCardRequest(req.body);
  if (!request) throw badRequest('This is no Canvas Kit request');
  return request;
}

function notInstalled(publicUrl: string): readonly Component[] {
  return [
    text('Subscription Timeline is not installed in this workspace.', 'muted'),
    linkButton('install', 'How to install', `${publicUrl}/install`),
  ];
}
