import { grantCanvas } from '../grants/views/router.ts';
import type { InboxCanvas } from '../intercom/canvas.ts';
import { canShare, type SharingCanvas, shareCard } from '../messenger/share.ts';
import type { Opening } from './canvas-cache.ts';
import { type CardContext, type Customer, carrierOf, type Visit } from './context.ts';
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
  context: CardContext,
  request: CardRequest,
): Promise<SharingCanvas | Opening> {
  const formState = verifyFormState(context.storedDataKey, carrierOf(request), request.storedData);
  const read = await readFor(context, request, formState ?? {});
  if (!read || read.workspace.status === 'uninstalled') {
    return notInstalled(context.publicUrl, chooseLanguage(request.adminLocale, null));
  }
  const visit = visitOf(context, request, read, formState ?? {});
  if (formState === null) {
    const { workspaceId, componentId, admin } = request;
    context.logger.warn({ workspaceId, component: componentId, adminId: admin.id }, 'stored data refused');
    return said(visit, visit.words.states.tampered, 'error');
  }
  return visit.projects.length === 0 ? notConnected(visit) : route(visit);
}

function readFor(context: CardContext, request: CardRequest, formState: FormState): Promise<CardRead | null> {
  const { workspaceId, contact } = request;
  return context.readCard.card(workspaceId, {
    contactId: contact.id,
    externalId: usableExternalId(contact.externalId),
    chosen: formState.chosen ?? null,
  });
}

function visitOf(context: CardContext, request: CardRequest, read: CardRead, formState: FormState): Visit {
  const { workspace, projects, candidates } = read;
  const language = chooseLanguage(request.adminLocale, workspace.settings.card.language);
  const words = wordsFor(language);
  const dates = datesIn(words.locale, workspace.timezone, words);
  return { context, request, workspace, projects, candidates, formState, language, words, dates };
}

async function route(visit: Visit): Promise<SharingCanvas | Opening> {
  const id = visit.request.componentId ?? 'home';
  switch (id) {
    case 'match':
      return searchView(visit);
    case 'match.query':
    case 'match.search':
      return search(visit);
    case 'match.confirm':
      return matchConfirm(visit);
    case 'projects':
      // On a card that stayed open there may be nothing left to choose.
      if (visit.candidates.length > 1) return projectChoice({ ...visit, formState: {} }, visit.candidates);
      break;
    default:
  }
  if (id.startsWith('match:')) return choose(visit, id.slice('match:'.length));
  const match = await matchContact(visit);
  if (match.kind === 'one' && visit.request.componentId === null) return open(visit, match.candidate);
  const customer = match.kind === 'one' ? await loadCustomer(visit, match.candidate) : null;
  return customer ? customerView(visit, customer, id) : nobody(visit, match);
}

/** The first canvas of a customer, made only if what it is made of has changed since it was last opened. */
async function open(visit: Visit, candidate: Candidate): Promise<SharingCanvas | Opening> {
  const { context, request } = visit;
  const names = await context.catalog.names(context.readDatabase, request.workspaceId, candidate.projectId);
  const known = context.openings.get(visit, candidate, names);
  if (known !== null) {
    refreshIfOld(visit, candidate);
    return known;
  }
  const customer = await loadCustomer(visit, candidate);
  if (!customer) return said(visit, visit.words.states.gone);
  return context.openings.keep(visit, candidate, names, home(visit, customer));
}

function nobody(visit: Visit, match: Match): Promise<InboxCanvas> {
  // Whom we never heard of may have subscribed long ago: the next card knows them.
  const { externalId } = visit.request.contact;
  if (match.kind === 'none' && externalId !== null) lookUp(visit, externalId);
  return match.kind === 'projects' ? projectChoice(visit, match.candidates) : unmatched(visit, match);
}

/** One that the contact's link or external id gives needs no confirming; anybody else does. */
async function choose(visit: Visit, subscriberId: string): Promise<InboxCanvas> {
  const { formState, candidates } = visit;
  const candidate = candidates.find((known) => known.subscriberId === subscriberId);
  if (!candidate) return matchReview(visit, subscriberId);
  const chosen: Visit = { ...visit, formState: { ...formState, chosen: subscriberId } };
  const customer = await loadCustomer(chosen, candidate);
  return customer ? home(chosen, customer) : said(visit, visit.words.states.gone);
}

async function customerView(visit: Visit, customer: Customer, id: string): Promise<InboxCanvas> {
  switch (id) {
    case 'timeline':
      return timeline(visit, customer);
    case 'timeline.kind':
    case 'timeline.environment':
      return timeline(visit, customer, null, filterOf(visit));
    case 'timeline:older':
      return timeline(visit, customer, 'older', filterOf(visit));
    case 'timeline:newer':
      return timeline(visit, customer, 'newer', filterOf(visit));
    case 'details':
      return details(visit, customer);
    case 'subscriptions':
      return subscriptions(visit, customer);
    case 'share':
      return shareCard({
        locale: visit.words.locale,
        back: visit.words.buttons.back,
        isVerified: canShare(visit.request.contact, customer.subscriber.appUserIds),
      });
    case 'unlink':
      return unlink(visit, customer);
    case 'refresh':
      return refreshed(visit, customer);
    default:
  }
  if (id.startsWith('event:')) return eventDetail(visit, customer, id.slice('event:'.length));
  return (await grantCanvas(visit, customer, id)) ?? home(visit, customer);
}

/** The overview. Old data starts a refresh behind it; the card itself asks nobody. */
function home(visit: Visit, customer: Customer): InboxCanvas {
  refreshIfOld(visit, customer.subscriber);
  return overview(visit, customer, standingNotice(visit, customer));
}

function refreshIfOld(
  { context, request, projects }: Visit,
  { subscriberId, projectId, snapshotAtMs }: Pick<Candidate, 'subscriberId' | 'projectId' | 'snapshotAtMs'>,
): void {
  const project = projects.find((known) => known.projectId === projectId);
  if (!project || project.apiKey === null || project.apiKeyState === 'rejected') return;
  const isOld = snapshotAtMs === null || context.now() - snapshotAtMs > SNAPSHOT_MAX_AGE_MS;
  if (isOld) context.refreshLater(request.workspaceId, subscriberId);
}

/** What is wrong for as long as an admin has not put it right. */
function standingNotice(visit: Visit, customer: Customer): string | null {
  const { states } = visit.words;
  if (customer.project.apiKeyState === 'rejected') return states.keyRejected;
  return visit.workspace.status === 'disconnected' ? states.disconnected : null;
}

/** Reads the customer anew from RevenueCat, as long as the agent may wait, and says what came of it. */
async function refreshed(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { context, request, words, dates } = visit;
  const { subscriberId } = customer.subscriber;
  const outcome = await context.refresh(request.workspaceId, subscriberId, REFRESH_WAIT_MS);
  // With the customer the names of products may have been read.
  context.catalog.forget(request.workspaceId, customer.project.projectId);
  const read = await readFor(context, request, visit.formState);
  const again = read && visitOf(context, request, read, visit.formState);
  const candidate = again?.candidates.find((known) => known.subscriberId === subscriberId);
  const now = again && candidate ? await loadCustomer(again, candidate) : null;
  if (!again || !now) return said(visit, words.states.gone);
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
      const asOfMs = now.subscriber.snapshotAtMs ?? now.latest[0]?.atMs ?? context.now();
      return overview(again, now, words.storedData(dates.dateTime(asOfMs)));
    }
  }
}
