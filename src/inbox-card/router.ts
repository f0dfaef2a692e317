import { ACTION_VIEWS } from '../grants/views/router.ts';
import { messagesFor } from '../i18n/messages.ts';
import type { InboxCanvas } from '../intercom/canvas.ts';
import { canShare, type SharingCanvas, shareCard } from '../messenger/share.ts';
import type { Opening } from './canvas-cache.ts';
import { type CardContext, type CardServices, type Customer, carrierOf, page } from './context.ts';
import { loadCustomer, type Match, matchContact, usableExternalId } from './customer.ts';
import { datesIn } from './dates.ts';
import { details } from './details.ts';
import { eventDetail } from './event-detail.ts';
import { chooseLanguage } from './language.ts';
import { matchConfirm, unlink } from './link.ts';
import { overview } from './overview.ts';
import type { CardRequest } from './request.ts';
import { lookUp, matchReview, projectChoice, search, searchView, unmatched } from './search.ts';
import { notConnected, notInstalled, said } from './states.ts';
import type { Candidate, CardRead } from './store.ts';
import { type FormState, verifyFormState } from './stored-data.ts';
import { subscriptions } from './subscriptions.ts';
import { filterOf, timeline } from './timeline.ts';
import { wordsFor } from './words/catalogue.ts';

/** How long the agent waits for a refresh, ms. */
const REFRESH_WAIT_MS = 3_000;
/** A snapshot older than this is renewed in the background when a card opens, ms. */
const SNAPSHOT_MAX_AGE_MS = 15 * 60_000;

/**
 * Answers one request of the inbox. The component's id names the view; the customer is found anew from the
 * signed request each time, so that no id in the canvas can lead to another one.
 */
export async function answerCard(
  services: CardServices,
  request: CardRequest,
): Promise<SharingCanvas | Opening> {
  const formState = verifyFormState(services.storedDataKey, carrierOf(request), request.storedData);
  const read = await readFor(services, request, formState ?? {});
  if (!read || read.workspace.status === 'uninstalled') {
    return notInstalled(services.publicUrl, chooseLanguage(request.adminLocale, null));
  }
  const context = visitOf(services, request, read, formState ?? {});
  if (formState === null) {
    const { workspaceId, componentId, admin } = request;
    services.logger.warn({ workspaceId, component: componentId, adminId: admin.id }, 'stored data refused');
    return said(context, context.words.states.tampered, 'error');
  }
  return context.projects.length === 0 ? notConnected(context) : route(context);
}

function readFor(
  services: CardServices,
  request: CardRequest,
  formState: FormState,
): Promise<CardRead | null> {
  const { workspaceId, contact } = request;
  return services.readCard.card(workspaceId, {
    contactId: contact.id,
    externalId: usableExternalId(contact.externalId),
    chosen: formState.chosen ?? null,
  });
}

function visitOf(
  services: CardServices,
  request: CardRequest,
  read: CardRead,
  formState: FormState,
): CardContext {
  const { workspace, projects, candidates } = read;
  const language = chooseLanguage(request.adminLocale, workspace.settings.card.language);
  const words = wordsFor(language);
  const dates = datesIn(words.locale, workspace.timezone, words);
  const context: CardContext = {
    services,
    request,
    workspace,
    projects,
    candidates,
    formState,
    isOutdated: false,
    language,
    words,
    dates,
    messages: messagesFor(language, workspace.timezone),
    page: (components, carried) => page(context, components, carried),
  };
  return context;
}

async function route(context: CardContext): Promise<SharingCanvas | Opening> {
  const id = context.request.componentId ?? 'home';
  switch (id) {
    case 'match':
      return searchView(context);
    case 'match.query':
    case 'match.search':
      return search(context);
    case 'match.confirm':
      return matchConfirm(context);
    case 'projects':
      // On a card that stayed open there may be nothing left to choose.
      if (context.candidates.length > 1)
        return projectChoice({ ...context, formState: {} }, context.candidates);
      break;
    default:
  }
  if (id.startsWith('match:')) return choose(context, id.slice('match:'.length));
  const match = await matchContact(context);
  if (match.kind === 'one' && context.request.componentId === null) return open(context, match.candidate);
  const customer = match.kind === 'one' ? await loadCustomer(context, match.candidate) : null;
  return customer ? customerView(context, customer, id) : nobody(context, match);
}

/** The first canvas of a customer, made only if what it is made of has changed since it was last opened. */
async function open(context: CardContext, candidate: Candidate): Promise<SharingCanvas | Opening> {
  const { services, request } = context;
  const names = await services.catalog.names(services.readDatabase, request.workspaceId, candidate.projectId);
  const known = services.openings.get(context, candidate, names);
  if (known !== null) {
    refreshIfOld(context, candidate);
    return known;
  }
  const customer = await loadCustomer(context, candidate);
  if (!customer) return said(context, context.words.states.gone);
  return services.openings.keep(context, candidate, names, home(context, customer));
}

function nobody(context: CardContext, match: Match): Promise<InboxCanvas> {
  // Whom we never heard of may have subscribed long ago: the next card knows them.
  const { externalId } = context.request.contact;
  if (match.kind === 'none' && externalId !== null) lookUp(context, externalId);
  return match.kind === 'projects' ? projectChoice(context, match.candidates) : unmatched(context, match);
}

/** One that the contact's link or external id gives needs no confirming; anybody else does. */
async function choose(context: CardContext, subscriberId: string): Promise<InboxCanvas> {
  const { formState, candidates } = context;
  const candidate = candidates.find((known) => known.subscriberId === subscriberId);
  if (!candidate) return matchReview(context, subscriberId);
  const chosen: CardContext = { ...context, formState: { ...formState, chosen: subscriberId } };
  const customer = await loadCustomer(chosen, candidate);
  return customer ? home(chosen, customer) : said(context, context.words.states.gone);
}

async function customerView(context: CardContext, customer: Customer, id: string): Promise<InboxCanvas> {
  switch (id) {
    case 'timeline':
      return timeline(context, customer);
    case 'timeline.kind':
    case 'timeline.environment':
      return timeline(context, customer, null, filterOf(context));
    case 'timeline:older':
      return timeline(context, customer, 'older', filterOf(context));
    case 'timeline:newer':
      return timeline(context, customer, 'newer', filterOf(context));
    case 'details':
      return details(context, customer);
    case 'subscriptions':
      return subscriptions(context, customer);
    case 'share':
      return shareCard({
        locale: context.words.locale,
        back: context.words.buttons.back,
        isVerified: canShare(context.request.contact, customer.subscriber.appUserIds),
      });
    case 'unlink':
      return unlink(context, customer);
    case 'refresh':
      return refreshed(context, customer);
    default:
  }
  if (id.startsWith('event:')) return eventDetail(context, customer, id.slice('event:'.length));
  const colon = id.indexOf(':') + 1;
  const grantView = ACTION_VIEWS[id] ?? (colon > 0 ? ACTION_VIEWS[id.slice(0, colon)] : undefined);
  return grantView?.render({ ...context, customer }, id.slice(colon)) ?? home(context, customer);
}

/** The overview. Old data starts a refresh behind it; the card itself asks nobody. */
function home(context: CardContext, customer: Customer): InboxCanvas {
  refreshIfOld(context, customer.subscriber);
  return overview(context, customer, standingNotice(context, customer));
}

function refreshIfOld(
  { services, request, projects }: CardContext,
  { subscriberId, projectId, snapshotAtMs }: Pick<Candidate, 'subscriberId' | 'projectId' | 'snapshotAtMs'>,
): void {
  const project = projects.find((known) => known.projectId === projectId);
  if (!project || project.apiKey === null || project.apiKeyState === 'rejected') return;
  const isOld = snapshotAtMs === null || services.now() - snapshotAtMs > SNAPSHOT_MAX_AGE_MS;
  if (isOld) services.refreshLater(request.workspaceId, subscriberId);
}

/** What is wrong for as long as an admin has not put it right. */
function standingNotice(context: CardContext, customer: Customer): string | null {
  const { states } = context.words;
  if (customer.project.apiKeyState === 'rejected') return states.keyRejected;
  return context.workspace.status === 'disconnected' ? states.disconnected : null;
}

/** Reads the customer anew from RevenueCat, as long as the agent may wait, and says what came of it. */
async function refreshed(context: CardContext, customer: Customer): Promise<InboxCanvas> {
  const { services, request, words, dates } = context;
  const { subscriberId } = customer.subscriber;
  const outcome = await services.refresh(request.workspaceId, subscriberId, REFRESH_WAIT_MS);
  // With the customer the names of products may have been read.
  services.catalog.forget(request.workspaceId, customer.project.projectId);
  const read = await readFor(services, request, context.formState);
  const again = read && visitOf(services, request, read, context.formState);
  const candidate = again?.candidates.find((known) => known.subscriberId === subscriberId);
  const now = again && candidate ? await loadCustomer(again, candidate) : null;
  if (!again || !now) return said(context, words.states.gone);
  switch (outcome) {
    case 'refreshed':
      return overview(again, now, standingNotice(again, now));
    case 'later':
      return overview(again, now, words.refreshing);
    case 'no_key':
      return overview(again, now, words.states.noKey);
    case 'unknown_customer':
      return overview(again, now, words.unknownToRevenueCat);
    case 'key_rejected':
      return overview(again, now, words.states.keyRejected);
    case 'unavailable': {
      const asOfMs = now.subscriber.snapshotAtMs ?? now.latest[0]?.atMs ?? services.now();
      return overview(again, now, words.storedData(dates.dateTime(asOfMs)));
    }
  }
}
