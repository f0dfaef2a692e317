import { canvas, type InboxCanvas, linkButton, text } from '../intercom/canvas.ts';
import { listProjects, readWorkspace } from '../workspaces/store.ts';
import { type CardContext, type Customer, carrierOf, page, type Visit } from './context.ts';
import { loadCustomer, matchContact } from './customer.ts';
import { datesIn } from './dates.ts';
import { details } from './details.ts';
import {
  grantConfirm,
  grantForm,
  grantReview,
  grantsList,
  grantView,
  revokeConfirm,
  revokeReview,
} from './grant-views.ts';
import { matchConfirm, matchForm, matchReview, search, unlink } from './match-views.ts';
import { overview, plainCanvas } from './overview.ts';
import type { CardRequest } from './request.ts';
import { openCarried } from './stored-data.ts';
import { eventDetail, timeline } from './timeline.ts';
import { english } from './words.ts';

/** How long the agent waits for a refresh, ms. */
const REFRESH_WAIT_MS = 3_000;
/** A snapshot older than this is renewed in the background when a card opens, ms. */
const SNAPSHOT_MAX_AGE_MS = 15 * 60_000;

/**
 * Answers one request of the inbox. The component's id names the view; the customer is found anew from the
 * signed request each time, so that no id in the canvas can lead to another one.
 */
export async function answerCard(context: CardContext, request: CardRequest): Promise<InboxCanvas> {
  const words = english;
  const workspace = await readWorkspace(context.readDatabase, request.workspaceId);
  if (!workspace || workspace.status === 'uninstalled') {
    return canvas([
      text(words.states.notInstalled, 'muted'),
      linkButton('install', words.buttons.install, `${context.publicUrl}/install`),
    ]);
  }
  const projects = await listProjects(context.readDatabase, request.workspaceId);
  const carried = openCarried(context.storedDataKey, carrierOf(request), request.storedData);
  const dates = datesIn(words.locale, workspace.timezone);
  const visit: Visit = { context, request, workspace, projects, carried: carried ?? {}, words, dates };
  if (carried === null) return page(visit, [text(words.states.tampered, 'error')]);
  if (projects.length === 0) {
    const way = { label: words.buttons.settings, url: `${context.publicUrl}/settings` };
    return plainCanvas(visit, words.states.notConnected, way);
  }
  return route(visit);
}

async function route(visit: Visit): Promise<InboxCanvas> {
  const id = visit.request.componentId ?? 'home';
  if (id === 'match.search') return search(visit);
  if (id === 'match.confirm') return matchConfirm(visit);
  if (id.startsWith('match:')) return matchReview(visit, id.slice('match:'.length));

  const match = await matchContact(visit);
  if (match.kind === 'none') return matchForm(visit, visit.words.states.noMatch);
  if (match.kind === 'several') return matchForm(visit, visit.words.states.several, match.found);
  if (match.kind === 'possible') return matchForm(visit, visit.words.states.possibleMatch, match.found);
  const customer = await loadCustomer(visit, match.subscriberId, match.isLinked);
  if (!customer) return matchForm(visit, visit.words.states.noMatch);
  return customerView(visit, customer, id);
}

async function customerView(visit: Visit, customer: Customer, id: string): Promise<InboxCanvas> {
  switch (id) {
    case 'timeline':
      return timeline(visit, customer);
    case 'timeline:older':
      return timeline(visit, customer, 'older');
    case 'timeline:newer':
      return timeline(visit, customer, 'newer');
    case 'details':
      return details(visit, customer);
    case 'grant':
      return grantForm(visit, customer);
    case 'grant.review':
      return grantReview(visit, customer);
    case 'grant.confirm':
      return grantConfirm(visit, customer);
    case 'grants':
      return grantsList(visit, customer);
    case 'revoke.confirm':
      return revokeConfirm(visit, customer);
    case 'unlink':
      return unlink(visit, customer);
    case 'refresh':
      return refreshed(visit, customer);
    default:
  }
  if (id.startsWith('event:')) return eventDetail(visit, customer, id.slice('event:'.length));
  if (id.startsWith('grant:')) return grantView(visit, customer, id.slice('grant:'.length));
  if (id.startsWith('revoke:')) return revokeReview(visit, customer, id.slice('revoke:'.length));
  return home(visit, customer);
}

/** The overview. Old data starts a refresh behind it; the card itself asks nobody. */
function home(visit: Visit, customer: Customer): InboxCanvas {
  const { context, words } = visit;
  const { subscriber, project } = customer;
  const isOld =
    subscriber.snapshotAtMs === null || context.now() - subscriber.snapshotAtMs > SNAPSHOT_MAX_AGE_MS;
  if (project.apiKey !== null && project.apiKeyState !== 'rejected' && isOld) {
    const { workspaceId } = visit.request;
    context.jobs
      .send('subscriber.refresh', { workspaceId, subscriberId: subscriber.subscriberId })
      .catch((error) => context.logger.warn({ err: error, workspaceId }, 'could not queue a refresh'));
  }
  return overview(visit, customer, project.apiKeyState === 'rejected' ? words.states.keyRejected : undefined);
}

async function refreshed(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { context, request, words, dates } = visit;
  const { subscriberId } = customer.subscriber;
  const outcome = await context.refresh(request.workspaceId, subscriberId, REFRESH_WAIT_MS);
  const again = (await loadCustomer(visit, subscriberId, customer.isLinked)) ?? customer;
  if (outcome !== 'unavailable') return overview(visit, again);
  const asOfMs = again.subscriber.snapshotAtMs ?? again.history.at(-1)?.atMs ?? context.now();
  return overview(visit, again, words.staleSince(dates.dateTime(asOfMs)));
}
