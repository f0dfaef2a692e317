import type { RequestHandler, Response, Router } from 'express';
import { wakeWaitingFor } from '../contacts/repository.ts';
import { MAX_CATCH_UP_MS, withoutReplica } from '../database/replica.ts';
import { badRequest } from '../errors.ts';
import type { PurchaseActionKind } from '../grants/action-kinds.ts';
import { findPurchase } from '../grants/purchases.ts';
import { approveAction, declineAction } from '../grants/service.ts';
import { confirmReview, decide, revokeConfirm } from '../grants/views/confirm.ts';
import { actionForm, turnPage } from '../grants/views/form.ts';
import { subscriptionPage } from '../grants/views/purchase.ts';
import { changeForm, reviewForm } from '../grants/views/review.ts';
import {
  actionList,
  actionResult,
  extendGrant,
  forAction,
  removalCanvas,
} from '../grants/views/stored-actions.ts';
import { createRouter } from '../http/app.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { button, canvas, type InboxCanvas, linkButton, notInstalled, text } from '../intercom/canvas.ts';
import { drawInTime } from '../intercom/draw-in-time.ts';
import { createCardReader } from './card-repository.ts';
import {
  type CardAnswer,
  type CardApp,
  type CardContext,
  type Render,
  readCardContext,
  verifyFormState,
} from './context.ts';
import { type CustomerContext, certainCandidate, loadCustomer } from './customer.ts';
import { details, technicalDetails } from './details.ts';
import { eventDetail, technicalEvent } from './event.ts';
import { home, initialize, projects, refresh, share } from './home.ts';
import { choose, link, unlink } from './linking.ts';
import { type CardRequest, readCardRequest } from './request.ts';
import { searchResults, searchView, withoutCustomer } from './search.ts';
import { filteredTimeline, nextTimelinePage, timeline } from './timeline.ts';

/** `POST /canvas/inbox/initialize` and `/submit`, after their signature was verified. */
export function inboxCardRouter(app: CardApp): Router {
  const { database } = app;
  // Created once, because creating its caches takes a millisecond.
  const onPrimary = { ...app, readDatabase: withoutReplica(database), cards: createCardReader(database) };
  const handle: RequestHandler = async (req, res) => {
    const request = readCardRequest(req.body);
    if (!request) throw badRequest('The body is not a Canvas Kit request: workspace_id is missing.');
    const answer = await drawInTime(answerFrom({ app, onPrimary }, request), req, {
      ...request,
      place: 'inbox',
      logger: app.logger,
      fallback: (problem): CardAnswer => fallback(request, `card.state.${problem}`),
    });
    sendCanvas(res, answer);
  };
  const router = createRouter();
  router.post('/initialize', handle);
  router.post('/submit', handle);
  return router;
}

/** Like `res.json`, but without choosing a serializer and computing an ETag: cards open often. */
function sendCanvas(res: Response, answer: CardAnswer): void {
  const body = Buffer.from(typeof answer === 'string' ? answer : JSON.stringify({ canvas: answer }));
  res.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': body.length });
  res.end(body);
}

/** Views that only read may use a replica; the others read their own changes, and wait until replicas show them. */
async function answerFrom(
  { app, onPrimary }: { app: CardApp; onPrimary: CardApp },
  request: CardRequest,
): Promise<CardAnswer> {
  const [{ readOnly, render }, argument] = findView(request);
  const draw = (context: CardContext) => render(context, argument);
  if (readOnly) return answerCard(app, request, draw);
  const answer = await answerCard(onPrimary, request, draw);
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

/**
 * Answers one request of the inbox. The customer is found from the signed request each time, so that no id in a
 * canvas can lead to another contact's customer.
 */
async function answerCard(
  app: CardApp,
  request: CardRequest,
  draw: (context: CardContext) => CardAnswer | Promise<CardAnswer>,
): Promise<CardAnswer> {
  const formState = verifyFormState(app.storedDataKey, request);
  const context = await readCardContext({ app, request, formState: formState ?? {} });
  if (!context || context.workspace.status === 'uninstalled') {
    const m = messagesFor(chooseLanguage(request.adminLocale, null));
    return canvas(notInstalled(m, app.config.publicUrl));
  }
  const { messages: m } = context;
  if (formState === null) {
    const { workspaceId, componentId, admin } = request;
    app.logger.warn(
      { workspaceId, component: componentId, adminId: admin.id },
      'form state refused: its signature does not match',
    );
    // *Back* does not need the form state: it lets the teammate start again.
    if (componentId !== 'home') return context.page([text(m.t('card.state.outdated'), 'error')]);
  }
  if (context.projects.length === 0)
    return context.page([
      text(m.t('card.state.notConnected'), 'muted'),
      linkButton('settings', m.t('card.button.settings'), `${app.config.publicUrl}/settings`),
    ]);
  wakeWaiting(context);
  return draw(context);
}

/** Wakes a customer whose events wait for this contact: Intercom's webhook for it was lost. Runs in the background. */
function wakeWaiting({ app, request, candidates }: CardContext): void {
  const { workspaceId, contact } = request;
  const isWaiting = candidates.some(({ waiting, matchedBy }) => waiting && matchedBy === 'external_id');
  if (!isWaiting || contact.isArchivedOrDeleted || contact.externalId === null) return;
  wakeWaitingFor(app.database, workspaceId, contact.externalId).catch((error: unknown) => {
    app.logger.warn({ err: error, workspaceId }, 'could not wake deliveries');
  });
}

interface View {
  /** Whether it may be drawn from a replica, because it changes nothing. */
  readonly readOnly: boolean;
  readonly render: Render<CardContext>;
}

const reads = (render: Render<CardContext>): View => ({ readOnly: true, render });
const changes = (render: Render<CardContext>): View => ({ readOnly: false, render });

/** For a view of a known customer; any other contact gets the search instead. */
function forCustomer(render: Render<CustomerContext>): Render<CardContext> {
  return async (context, argument) => {
    const candidate = certainCandidate(context);
    if (!candidate) return withoutCustomer(context);
    return render({ ...context, customer: await loadCustomer(context.app, candidate) }, argument);
  };
}

/** The views by component id; an id that ends with a colon is a prefix. */
const VIEWS: ReadonlyMap<string, View> = new Map(
  Object.entries({
    initialize: reads(initialize),
    home: reads(forCustomer(home)),
    refresh: changes(forCustomer(refresh)),
    timeline: reads(forCustomer(timeline)),
    'timeline.kind': reads(forCustomer(filteredTimeline)),
    'timeline.environment': reads(forCustomer(filteredTimeline)),
    'timeline:': reads(forCustomer(nextTimelinePage)),
    'event:': reads(forCustomer(eventDetail)),
    'technical:': reads(forCustomer(technicalEvent)),
    details: reads(forCustomer(details)),
    technical: reads(forCustomer(technicalDetails)),
    share: changes(forCustomer(share)),
    projects: changes(forCustomer(projects)),
    match: changes(searchView),
    'match.query': changes(searchResults),
    'match.search': changes(searchResults),
    'match:': changes(choose),
    'match.confirm': changes(link),
    unlink: changes(forCustomer(unlink)),
    grant: changes(forCustomer((context) => actionForm(context, { kind: 'grant' }))),
    'grant.page:': changes(forCustomer(turnPage)),
    'grant.review': changes(forCustomer(reviewForm)),
    'grant.confirm': changes(forCustomer(confirmReview)),
    grants: reads(forCustomer(actionList)),
    'grants.page:': reads(forCustomer(actionList)),
    'grant:': reads(forCustomer(forAction(actionResult))),
    'revoke:': changes(forCustomer(forAction(removalCanvas))),
    'revoke.confirm': changes(forCustomer(forAction(revokeConfirm))),
    'subscription:': reads(forCustomer(subscriptionPage)),
    'cancel:': changes(forCustomer(purchaseForm('cancel'))),
    'refund:': changes(forCustomer(purchaseForm('refund'))),
    'extend:': changes(forCustomer(extend)),
    'manage:': changes(forCustomer(purchaseForm('manage'))),
    transfer: changes(forCustomer((context) => actionForm(context, { kind: 'transfer' }))),
    'action.page:': changes(forCustomer(turnPage)),
    'action.review': changes(forCustomer(reviewForm)),
    'action.change': changes(forCustomer(changeForm)),
    'action.confirm': changes(forCustomer(confirmReview)),
    'action.approve': changes(forCustomer(forAction(decide(approveAction)))),
    'action.decline': changes(forCustomer(forAction(decide(declineAction)))),
    'action.withdraw': changes(forCustomer(forAction(decide(declineAction)))),
  }),
);

function purchaseForm(kind: PurchaseActionKind): Render<CustomerContext> {
  return (context, subscription) => actionForm(context, { kind, subscription });
}

/** Both the page of a subscription and the page of a grant have `extend:`. */
function extend(context: CustomerContext, id: string): Promise<CardAnswer> {
  return findPurchase(context, id)
    ? actionForm(context, { kind: 'extend', subscription: id })
    : forAction(extendGrant)(context, id);
}

/** The view of a component, with what follows the colon of its id. An unknown one shows the overview. */
function findView({ componentId }: CardRequest): [view: View, argument: string] {
  const id = componentId ?? 'initialize';
  const exact = VIEWS.get(id);
  if (exact) return [exact, ''];
  const colon = id.indexOf(':') + 1;
  return [VIEWS.get(id.slice(0, colon)) ?? changes(forCustomer(home)), id.slice(colon)];
}
