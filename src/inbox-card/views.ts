import { wakeWaitingFor } from '../contacts/repository.ts';
import type { StoreActionKind } from '../grants/action.ts';
import { findPurchase } from '../grants/purchases.ts';
import { grantForm, turnEntitlementPage } from '../grants/views/grant-form.ts';
import { storeForm, subscriptionPage } from '../grants/views/purchase.ts';
import {
  addToEnd,
  changeForm,
  confirmReview,
  reviewGrant,
  reviewStoreAction,
} from '../grants/views/review.ts';
import {
  actionList,
  approve,
  decline,
  extendGrant,
  nextActionPage,
  revokeConfirm,
  revokeReview,
  storedAction,
} from '../grants/views/stored-actions.ts';
import { chooseLanguage } from '../i18n/languages.ts';
import { messagesFor } from '../i18n/messages.ts';
import { canvas, linkButton, text } from '../intercom/canvas.ts';
import type { Candidate } from './card-repository.ts';
import {
  type CardAnswer,
  type CardApp,
  type CardContext,
  type CustomerContext,
  createCardContext,
  firstCanvas,
  sentenceCanvas,
  withFormState,
} from './context.ts';
import { type Customer, loadCustomer } from './customer.ts';
import { details, subscriptions, technicalDetails } from './details.ts';
import { eventDetail, technicalEvent } from './event.ts';
import { verifyFormState } from './form-state.ts';
import { confirmLink, removeLink, reviewLink } from './linking.ts';
import {
  linkedCanvas,
  linkReviewCanvas,
  projectChoice,
  searchResults,
  searchView,
  unlinkedCanvas,
  unmatchedCanvas,
} from './match-views.ts';
import {
  cardQuery,
  findSuggestions,
  MAX_FOUND,
  type Match,
  matchContact,
  queryOf,
  search,
} from './matching.ts';
import { overview } from './overview.ts';
import { refreshCustomer, refreshIfStale } from './refresh.ts';
import type { CardRequest } from './request.ts';
import { share } from './share.ts';
import { filteredTimeline, nextTimelinePage, timeline } from './timeline.ts';

type Render<Context> = (context: Context, argument: string) => CardAnswer | Promise<CardAnswer>;

/** What pressing a component shows. */
interface View {
  /** Whether it may be drawn from a replica, because it changes nothing. */
  readonly readOnly: boolean;
  /** @param argument what follows the colon of the component's id */
  readonly render: Render<CardContext>;
}

const reads = (render: Render<CardContext>): View => ({ readOnly: true, render });
const changes = (render: Render<CardContext>): View => ({ readOnly: false, render });

/** The views by component id; an id that ends with a colon is a prefix. */
const VIEWS: Readonly<Record<string, View>> = {
  initialize: reads(initialize),
  home: reads(forCustomer(home)),
  refresh: changes(forCustomer(refresh)),
  timeline: reads(forCustomer(timeline)),
  'timeline.kind': reads(forCustomer(filteredTimeline)),
  'timeline.environment': reads(forCustomer(filteredTimeline)),
  'timeline:older': reads(forCustomer((context) => nextTimelinePage(context, 'older'))),
  'timeline:newer': reads(forCustomer((context) => nextTimelinePage(context, 'newer'))),
  'event:': reads(forCustomer(eventDetail)),
  'technical:': reads(forCustomer(technicalEvent)),
  details: reads(forCustomer(details)),
  technical: reads(forCustomer(technicalDetails)),
  subscriptions: reads(forCustomer(subscriptions)),
  share: changes(forCustomer(share)),
  projects: changes(projects),
  match: changes(searchView),
  'match.query': changes(searchByQuery),
  'match.search': changes(searchByQuery),
  'match:': changes(choose),
  'match.confirm': changes(link),
  unlink: changes(forCustomer(unlink)),
  grant: changes(forCustomer((context) => grantForm(context, { kind: 'grant' }))),
  'grant.page:': changes(forCustomer(turnEntitlementPage)),
  'grant.review': changes(forCustomer(reviewGrant)),
  'grant.add': changes(forCustomer(addToEnd)),
  'grant.confirm': changes(forCustomer(confirmReview)),
  grants: reads(forCustomer((context) => actionList(context))),
  'grants:': reads(forCustomer(nextActionPage)),
  'grant:': reads(forCustomer(storedAction)),
  'revoke:': changes(forCustomer(revokeReview)),
  'revoke.confirm': changes(forCustomer(revokeConfirm)),
  'subscription:': reads(forCustomer(subscriptionPage)),
  'cancel:': changes(forCustomer(storeFormOf('cancel'))),
  'refund:': changes(forCustomer(storeFormOf('refund'))),
  'extend:': changes(forCustomer(extend)),
  'manage:': changes(forCustomer(storeFormOf('manage'))),
  transfer: changes(forCustomer(storeFormOf('transfer'))),
  'action.review': changes(forCustomer(reviewStoreAction)),
  'action.change': changes(forCustomer(changeForm)),
  'action.confirm': changes(forCustomer(confirmReview)),
  'action.approve': changes(forCustomer(approve)),
  'action.decline': changes(forCustomer(decline)),
  'action.withdraw': changes(forCustomer(decline)),
};

function storeFormOf(kind: StoreActionKind): Render<CustomerContext> {
  return (context, subscription) => storeForm(context, { kind, subscription });
}

/** `extend:` is on the page of a subscription and on that of a grant. */
function extend(context: CustomerContext, id: string): Promise<CardAnswer> {
  return findPurchase(context, id)
    ? storeForm(context, { kind: 'extend', subscription: id })
    : extendGrant(context, id);
}

interface FoundView {
  readonly view: View;
  readonly argument: string;
}

/** An unknown id shows the overview. */
export function findView({ componentId }: CardRequest): FoundView {
  const id = componentId ?? 'initialize';
  const exact = Object.hasOwn(VIEWS, id) ? VIEWS[id] : undefined;
  if (exact) return { view: exact, argument: '' };
  const colon = id.indexOf(':') + 1;
  const prefix = id.slice(0, colon);
  const byPrefix = colon > 0 && Object.hasOwn(VIEWS, prefix) ? VIEWS[prefix] : undefined;
  return { view: byPrefix ?? changes(forCustomer(home)), argument: id.slice(colon) };
}

/**
 * Answers one request of the inbox. The customer is found from the signed request each time, so that no id in a
 * canvas can lead to another contact's customer.
 */
export async function answerCard(
  app: CardApp,
  request: CardRequest,
  { view, argument }: FoundView,
): Promise<CardAnswer> {
  const formState = verifyFormState(app.storedDataKey, request);
  const record = await app.cards.read(request.workspaceId, cardQuery(request, formState ?? {}));
  if (!record || record.workspace.status === 'uninstalled') {
    const m = messagesFor(chooseLanguage(request.adminLocale, null));
    return canvas([
      text(m.t('card.state.notInstalled'), 'muted'),
      linkButton('install', m.t('card.button.install'), `${app.config.publicUrl}/install`),
    ]);
  }
  const context = createCardContext({ app, request, formState: formState ?? {} }, record);
  const { messages: m } = context;
  if (formState === null) {
    const { workspaceId, componentId, admin } = request;
    app.logger.warn({ workspaceId, component: componentId, adminId: admin.id }, 'stored data refused');
    // *Back* needs nothing of it: it is the way to start again.
    if (componentId !== 'home') return sentenceCanvas(context, m.t('card.state.outdated'), 'error');
  }
  if (context.projects.length === 0) {
    return firstCanvas(context, [
      text(m.t('card.state.notConnected'), 'muted'),
      linkButton('settings', m.t('card.button.settings'), `${app.config.publicUrl}/settings`),
    ]);
  }
  wakeWaiting(context);
  return view.render(context, argument);
}

/** Wakes a customer whose events wait for this contact: Intercom's webhook for it was lost. Runs in the background. */
function wakeWaiting({ app, request, candidates }: CardContext): void {
  const { workspaceId, contact } = request;
  const isWaiting = candidates.some(({ waiting, matchedBy }) => waiting && matchedBy === 'external_id');
  if (!isWaiting || contact.isGone || contact.externalId === null) return;
  wakeWaitingFor(app.database, workspaceId, contact.externalId).catch((error: unknown) => {
    app.logger.warn({ err: error, workspaceId }, 'could not wake deliveries');
  });
}

/** For a view of a known customer; any other contact gets the search instead. */
function forCustomer(render: Render<CustomerContext>): Render<CardContext> {
  return async (context, argument) => {
    const match = await matchContact(context);
    const customer = match.kind === 'one' ? await loadCustomer(context, match.candidate) : null;
    return customer ? render({ ...context, customer }, argument) : answerWithoutCustomer(context, match);
  };
}

async function answerWithoutCustomer(context: CardContext, match: Match): Promise<CardAnswer> {
  if (match.kind === 'projects') return chooseAmong(context, match.candidates);
  return unmatchedCanvas(context, await findSuggestions(context, match));
}

async function chooseAmong(context: CardContext, candidates: readonly Candidate[]): Promise<CardAnswer> {
  const shown = candidates.slice(0, MAX_FOUND);
  const customers = await Promise.all(shown.map((candidate) => loadCustomer(context, candidate)));
  return projectChoice(
    context,
    customers.filter((customer) => customer !== null),
  );
}

/** The first canvas: drawn only when something that it shows has changed since it was last opened. */
async function initialize(context: CardContext): Promise<CardAnswer> {
  const { app, request } = context;
  const match = await matchContact(context);
  if (match.kind !== 'one') return answerWithoutCustomer(context, match);
  const { candidate } = match;
  refreshIfStale(context, candidate);
  const names = await app.catalog.names(app.readDatabase, request.workspaceId, candidate.projectId);
  const cached = app.canvases.get(context, candidate, names);
  if (cached !== null) return cached;
  const customer = await loadCustomer(context, candidate);
  if (!customer) return sentenceCanvas(context, context.messages.t('card.state.notFound'));
  const drawn = overview({ ...context, customer }, standingNotice(context, customer));
  return app.canvases.set(context, candidate, { names, canvas: drawn });
}

function home(context: CustomerContext): CardAnswer {
  refreshIfStale(context, context.customer.subscriber);
  return overview(context, standingNotice(context, context.customer));
}

/** What stays wrong until an admin fixes it. */
function standingNotice({ messages: m, workspace }: CardContext, { project }: Customer): string | null {
  if (project.apiKeyState === 'rejected') return m.t('card.state.keyRejected');
  return workspace.status === 'disconnected' ? m.t('card.state.disconnected') : null;
}

const REFRESH_NOTICES = {
  later: 'card.state.refreshing',
  no_key: 'card.state.noKey',
  unknown_customer: 'card.state.unknownToRevenueCat',
  key_rejected: 'card.state.keyRejected',
  scope_missing: 'card.state.scopeMissing',
  unavailable: 'card.state.storedData',
} as const;

async function refresh(before: CustomerContext): Promise<CardAnswer> {
  const { outcome, context } = await refreshCustomer(before);
  const { messages: m, app } = before;
  if (!context) return sentenceCanvas(before, m.t('card.state.notFound'));
  if (outcome === 'refreshed') return overview(context, standingNotice(context, context.customer));
  const { subscriber, latest } = context.customer;
  const dataAtMs = subscriber.snapshotAtMs ?? latest[0]?.atMs ?? app.now();
  return overview(context, m.t(REFRESH_NOTICES[outcome], { time: m.dateTime(dataAtMs) }));
}

function projects(context: CardContext, argument: string) {
  // A card that stayed open may name projects of which only one is left.
  return context.candidates.length > 1
    ? chooseAmong(withFormState(context, {}), context.candidates)
    : forCustomer(home)(context, argument);
}

async function searchByQuery(context: CardContext): Promise<CardAnswer> {
  const query = queryOf(context);
  return searchResults(context, query, await search(context, query));
}

/** A customer found by the contact's link or external id needs no confirmation; any other does. */
async function choose(context: CardContext, subscriberId: string): Promise<CardAnswer> {
  const { formState, candidates } = context;
  const candidate = candidates.find((known) => known.subscriberId === subscriberId);
  if (!candidate) return linkReviewCanvas(context, await reviewLink(context, subscriberId));
  const chosen = withFormState(context, { ...formState, chosen: subscriberId });
  const customer = await loadCustomer(chosen, candidate);
  return customer
    ? home({ ...chosen, customer })
    : sentenceCanvas(chosen, context.messages.t('card.state.notFound'));
}

async function link(context: CardContext): Promise<CardAnswer> {
  const { messages: m } = context;
  const result = await confirmLink(context);
  switch (result.kind) {
    case 'not_reviewed':
      return sentenceCanvas(context, m.t('card.state.outdated'), 'error');
    case 'not_found':
      return sentenceCanvas(context, m.t('card.state.notFound'));
    case 'changed':
    case 'expired':
      return linkReviewCanvas(context, await reviewLink(context, result.subscriberId), result.kind);
    case 'shown':
    case 'linked': {
      const { customer } = result;
      const chosen = withFormState(context, { chosen: customer.subscriber.subscriberId });
      return result.kind === 'linked'
        ? linkedCanvas({ ...chosen, customer })
        : overview({ ...chosen, customer });
    }
  }
}

async function unlink(context: CustomerContext): Promise<CardAnswer> {
  switch (await removeLink(context)) {
    case 'removed':
      return unlinkedCanvas({ ...withFormState(context, {}), customer: context.customer });
    case 'not_linked':
      return sentenceCanvas(context, context.messages.t('card.state.notFound'));
    case 'not_reviewed':
      return details(context);
  }
}
