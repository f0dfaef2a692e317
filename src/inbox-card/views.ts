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
import {
  type CardAnswer,
  type CardApp,
  type CardContext,
  type CustomerContext,
  createCardContext,
  type Render,
  sentenceCanvas,
  verifyFormState,
} from './context.ts';
import { details, subscriptions, technicalDetails } from './details.ts';
import { eventDetail, technicalEvent } from './event.ts';
import { home, initialize, projects, refresh } from './home.ts';
import { choose, link, unlink } from './linking.ts';
import { cardQuery, forCustomer } from './matching.ts';
import type { CardRequest } from './request.ts';
import { searchResults, searchView } from './search.ts';
import { share } from './share.ts';
import { filteredTimeline, newerPage, olderPage, timeline } from './timeline.ts';

/** What pressing a component shows. */
interface View {
  /** Whether it may be drawn from a replica, because it changes nothing. */
  readonly readOnly: boolean;
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
  'timeline:older': reads(forCustomer(olderPage)),
  'timeline:newer': reads(forCustomer(newerPage)),
  'event:': reads(forCustomer(eventDetail)),
  'technical:': reads(forCustomer(technicalEvent)),
  details: reads(forCustomer(details)),
  technical: reads(forCustomer(technicalDetails)),
  subscriptions: reads(forCustomer(subscriptions)),
  share: changes(forCustomer(share)),
  projects: changes(projects),
  match: changes(searchView),
  'match.query': changes(searchResults),
  'match.search': changes(searchResults),
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
    return context.page([
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
