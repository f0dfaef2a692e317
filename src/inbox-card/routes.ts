import { type RequestHandler, type Response, Router } from 'express';
import { MAX_CATCH_UP_MS, withoutReplica } from '../database/replica.ts';
import { badRequest } from '../errors.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { button, canvas, drawInTime, type InboxCanvas, text } from '../intercom/canvas.ts';
import { createCardReader } from './card-repository.ts';
import type { CardAnswer, CardApp } from './context.ts';
import { type CardRequest, readCardRequest } from './request.ts';
import { answerCard, findView } from './views.ts';

/** `POST /canvas/inbox/initialize` and `/submit`, after their signature was verified. */
export function inboxCardRouter(app: CardApp): Router {
  const handle: RequestHandler = async (req, res) => {
    const request = readCardRequest(req.body);
    if (!request) throw badRequest('The body is not a Canvas Kit request: workspace_id is missing.');
    const { workspaceId, componentId: component } = request;
    const answer = await drawInTime(answerFrom(app, request), req, {
      place: 'inbox',
      logger: app.logger,
      workspaceId,
      component,
      fallback: (problem): CardAnswer => fallback(request, `card.state.${problem}`),
    });
    sendCanvas(res, answer);
  };
  const router = Router({ strict: true, caseSensitive: true });
  router.post('/initialize', handle);
  router.post('/submit', handle);
  return router;
}

/** As `res.json`, without its search for a serializer and an ETag: cards open often. */
function sendCanvas(res: Response, answer: CardAnswer): void {
  const body = Buffer.from(typeof answer === 'string' ? answer : JSON.stringify({ canvas: answer }));
  res.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': body.length });
  res.end(body);
}

/** Views that only read may use a replica; the others read their own changes, and wait until replicas show them. */
async function answerFrom(app: CardApp, request: CardRequest): Promise<CardAnswer> {
  const found = findView(request);
  if (found.view.readOnly) return answerCard(app, request, found);
  const { database } = app;
  const onPrimary = {
    ...app,
    readDatabase: withoutReplica(database),
    cards: createCardReader(database),
  };
  const answer = await answerCard(onPrimary, request, found);
  // The change is committed: a lagging replica must not be reported as a failure.
  await app.readDatabase.upToDate(MAX_CATCH_UP_MS).catch(() => {});
  return answer;
}

function fallback({ adminLocale }: CardRequest, key: 'card.state.slow' | 'card.state.failed'): InboxCanvas {
  const m = messagesFor(chooseLanguage(adminLocale, null));
  return canvas([
    text(m.t(key), 'muted'),
    button('refresh', m.t('card.button.refresh'), 'secondary'),
    button('home', m.t('card.button.back'), 'link'),
  ]);
}
