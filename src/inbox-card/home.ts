import { AppError, answerOrError } from '../errors.ts';
import { text } from '../intercom/canvas.ts';
import { refreshSubscriber } from '../subscribers/refresh.ts';
import { withTimeout } from '../time.ts';
import { queueKeyCheck } from '../workspaces/key-state.ts';
import { hasWorkingKey } from '../workspaces/projects.ts';
import { lacksPermission } from '../workspaces/revenuecat-key.ts';
import type { Candidate } from './card-repository.ts';
import { type CardAnswer, type CardContext, readCardContext, withFormState } from './context.ts';
import { type CustomerContext, canShare, certainCandidate, loadCustomer } from './customer.ts';
import { overview } from './overview.ts';
import { chooseProject, withoutCustomer } from './search.ts';

/** The first canvas: drawn only when something that it shows has changed since it was last opened. */
export async function initialize(context: CardContext): Promise<CardAnswer> {
  const { app, request } = context;
  const candidate = certainCandidate(context);
  if (!candidate) return withoutCustomer(context);
  refreshIfStale(context, candidate);
  const { projectId } = candidate.project;
  const names = await app.catalog.names(app.readDatabase, request.workspaceId, projectId);
  return app.cachedCanvas(context, candidate, {
    names,
    async draw() {
      const drawn = { ...context, customer: await loadCustomer(app, candidate) };
      return overview(drawn, adminNotice(drawn));
    },
  });
}

export function home(context: CustomerContext): CardAnswer {
  refreshIfStale(context, context.customer);
  return overview(context, adminNotice(context));
}

/** Offers the contact's customers in several projects; if only one is left, shows that customer. */
export function projects(context: CustomerContext): CardAnswer | Promise<CardAnswer> {
  return context.candidates.length > 1 ? chooseProject(withFormState(context, {})) : home(context);
}

/**
 * Puts the customer's own card into the reply: with options in the response, Intercom requests a card from the
 * Messenger side. That card is live and shows each viewer their own subscription, so it carries no customer data.
 * Source: Intercom, "Canvas Kit: response objects", `card_creation_options`.
 */
export function share(context: CustomerContext): CardAnswer {
  const { messages: m, page, request, customer } = context;
  if (!canShare(request.contact, customer.appUserIds))
    return page([text(m.t('messenger.share.unverified'), 'muted')]);
  const canvas = page([text(m.t('messenger.share.added'))]);
  return JSON.stringify({ canvas, card_creation_options: { card: 'subscription' } });
}

function refreshIfStale({ app, request }: CardContext, candidate: Candidate): void {
  const canRefresh = hasWorkingKey(candidate.project);
  app.refreshIfStale(request.workspaceId, { ...candidate, canRefresh });
}

/** A notice about what stays wrong until an admin fixes it. */
function adminNotice({ messages: m, workspace, customer: { project } }: CustomerContext): string | null {
  if (project.apiKeyState === 'rejected') return m.t('card.state.keyRejected');
  return workspace.status === 'disconnected' ? m.t('card.state.disconnected') : null;
}

/** How long the agent waits for a refresh, which then continues in the background. */
const REFRESH_WAIT_MS = 3_000;

const REFRESH_NOTICES = {
  later: 'card.state.refreshing',
  no_key: 'card.state.noKey',
  unknown_customer: 'card.state.unknownToRevenueCat',
  key_rejected: 'card.state.keyRejected',
  revenuecat_scope_missing: 'card.state.scopeMissing',
  secret_unreadable: 'card.state.secretUnreadable',
  unavailable: 'card.state.storedData',
} as const;

function failureOf({ code }: AppError): keyof typeof REFRESH_NOTICES {
  return code === 'revenuecat_scope_missing' || code === 'secret_unreadable' ? code : 'unavailable';
}

export async function refresh(before: CustomerContext): Promise<CardAnswer> {
  const { app, request, messages: m } = before;
  const { project, subscriberId } = before.customer;
  const { workspaceId } = request;
  if (lacksPermission(project.missingScopes)) await queueKeyCheck(app, workspaceId);
  const refreshing = refreshSubscriber(app, { subscriberId, workspaceId }, { priority: 'interactive' });
  const answer = await withTimeout(answerOrError(refreshing), REFRESH_WAIT_MS, () => 'later' as const);
  const outcome = answer instanceof AppError ? failureOf(answer) : answer;
  // The names of products may have been read with the customer.
  app.catalog.invalidate(workspaceId, project.projectId);
  const context = await readCardContext(before);
  const candidate = context?.candidates.find((each) => each.subscriberId === subscriberId);
  if (!context || !candidate) return before.page([text(m.t('card.state.notFound'), 'muted')]);
  const customer = await loadCustomer(app, candidate);
  const after = { ...context, customer };
  if (outcome === 'refreshed') return overview(after, adminNotice(after));
  return overview(after, m.t(REFRESH_NOTICES[outcome], { time: m.dateTime(customer.dataAtMs) }));
}
