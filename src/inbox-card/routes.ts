import { type RequestHandler, Router } from 'express';
import { badRequest } from '../errors.ts';
import { button, canvas, type InboxCanvas, text } from '../intercom/canvas.ts';
import type { CardContext } from './context.ts';
import { readCardRequest } from './request.ts';
import { answerCard } from './router.ts';
import { english } from './words.ts';

/** Intercom states no limit for Canvas Kit (UNVERIFIED: 10 s); webhooks' 5 s is the ceiling that we keep under. */
const DEADLINE_MS = 4_500;

/**
 * `POST /canvas/inbox/initialize` and `/submit`, behind their signature. The answer is a race with a deadline:
 * whatever goes wrong, the agent gets a card with a way on, and the log gets the reason.
 */
export function inboxCardRouter(context: CardContext): Router {
  const handle: RequestHandler = async (req, res) => {
    const request = readCardRequest(req.body);
    if (!request) throw badRequest('This is no Canvas Kit request');
    const { promise: deadline, resolve } = Promise.withResolvers<InboxCanvas>();
    const timer = setTimeout(() => {
      context.logger.warn(
        { workspaceId: request.workspaceId, component: request.componentId },
        'card over its deadline',
      );
      resolve(fallback());
    }, DEADLINE_MS);
    const answer = answerCard(context, request).catch((error: unknown) => {
      context.logger.error(
        {
          err: error,
          workspaceId: request.workspaceId,
          component: request.componentId,
          requestId: String((req as { id?: unknown }).id),
        },
        'card failed',
      );
      return fallback();
    });
    try {
      res.json({ canvas: await Promise.race([answer, deadline]) });
    } finally {
      clearTimeout(timer);
    }
  };
  const router = Router();
  router.post('/initialize', handle);
  router.post('/submit', handle);
  return router;
}

function fallback(): InboxCanvas {
  return canvas([
    text(english.states.slow, 'muted'),
    button('refresh', english.buttons.refresh, 'secondary'),
    button('home', english.buttons.back, 'link'),
  ]);
}
