import { type RequestHandler, type Response, Router } from 'express';
import { badRequest } from '../errors.ts';
import { requestId } from '../http/request-log.ts';
import { button, canvas, type InboxCanvas, text } from '../intercom/canvas.ts';
import { inboxAnswer, type SharingCanvas } from '../messenger/share.ts';
import { withTimeout } from '../time.ts';
import type { Opening } from './canvas-cache.ts';
import { createCardReader } from './card-reader.ts';
import type { CardServices } from './context.ts';
import { chooseLanguage } from './language.ts';
import { type CardRequest, readCardRequest } from './request.ts';
import { answerCard } from './router.ts';
import { wordsFor } from './words/catalogue.ts';

/** Intercom states no limit for Canvas Kit (UNVERIFIED: 10 s); webhooks' 5 s is the ceiling that we keep under. */
const DEADLINE_MS = 4_500;

/**
 * `POST /canvas/inbox/initialize` and `/submit`, behind their signature. The answer is a race with a deadline:
 * whatever goes wrong, the agent gets a card with a way on, and the log gets the reason.
 */
export function inboxCardRouter(services: CardServices): Router {
  const handle: RequestHandler = async (req, res) => {
    const request = readCardRequest(req.body);
    if (!request) throw badRequest('This is no Canvas Kit request');
    const answer = answerFrom(services, request).catch((error: unknown) => {
      services.logger.error(
        {
          err: error,
          workspaceId: request.workspaceId,
          component: request.componentId,
          requestId: requestId(req.headers['x-request-id']),
        },
        'card failed',
      );
      return fallback(request, 'failed');
    });
    const given = await withTimeout(answer, DEADLINE_MS, () => {
      services.logger.warn(
        { workspaceId: request.workspaceId, component: request.componentId },
        'card over its deadline',
      );
      return fallback(request, 'slow');
    });
    sendCanvas(res, given);
  };
  const router = Router();
  router.post('/initialize', handle);
  router.post('/submit', handle);
  return router;
}

/** What `res.json` would send, without its looking for a serializer and an ETag: cards open often. */
function sendCanvas(res: Response, answer: SharingCanvas | Opening): void {
  const body = Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(inboxAnswer(answer)));
  res.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': body.length });
  res.end(body);
}

/** What these show may come from a replica; all else may change something, and is shown as it is afterwards. */
const READS = /^(home|details|subscriptions|grants|timeline|timeline[.:].*|event:.*|grant:.*)$/;

async function answerFrom(services: CardServices, request: CardRequest): Promise<SharingCanvas | Opening> {
  if (READS.test(request.componentId ?? 'home')) return answerCard(services, request);
  const { database } = services;
  const answer = await answerCard(
    { ...services, readDatabase: database, readCard: createCardReader(database) },
    request,
  );
  // The change is made: that a card elsewhere may lag behind is no reason to say that it failed.
  await services.settle?.().catch(() => {});
  return answer;
}

function fallback(request: CardRequest, why: 'slow' | 'failed'): InboxCanvas {
  const words = wordsFor(chooseLanguage(request.adminLocale, null));
  return canvas([
    text(words.states[why], 'muted'),
    button('refresh', words.buttons.refresh, 'secondary'),
    button('home', words.buttons.back, 'link'),
  ]);
}
