import { AppError } from '../errors.ts';
import { refreshSubscriber } from '../subscribers/refresh.ts';
import { withTimeout } from '../time.ts';
import { hasWorkingKey } from '../workspaces/projects.ts';
import type { Candidate } from './card-repository.ts';
import {
  type CardAnswer,
  type CardContext,
  type CustomerContext,
  createCardContext,
  sentenceCanvas,
  withFormState,
} from './context.ts';
import { loadCustomer } from './customer.ts';
import { answerWithoutCustomer, cardQuery, chooseAmong, forCustomer, matchContact } from './matching.ts';
import { overview } from './overview.ts';

/** The first canvas: drawn only when something that it shows has changed since it was last opened. */
export async function initialize(context: CardContext): Promise<CardAnswer> {
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
  const drawn = overview({ ...context, customer }, standingNotice({ ...context, customer }));
  return app.canvases.set(context, candidate, { names, canvas: drawn });
}

export function home(context: CustomerContext): CardAnswer {
  refreshIfStale(context, context.customer.subscriber);
  return overview(context, standingNotice(context));
}

/** The choice between customers of several projects. */
export function projects(context: CardContext, argument: string) {
  // A card that stayed open may name projects of which only one is left.
  return context.candidates.length > 1
    ? chooseAmong(withFormState(context, {}), context.candidates)
    : forCustomer(home)(context, argument);
}

/** Stale data triggers a background refresh. */
function refreshIfStale({ app, request, projects: all }: CardContext, candidate: Candidate): void {
  const project = all.find(({ projectId }) => projectId === candidate.projectId);
  const canRefresh = project !== undefined && hasWorkingKey(project);
  app.refreshIfStale(request.workspaceId, { ...candidate, canRefresh });
}

/** What stays wrong until an admin fixes it. */
function standingNotice({ messages: m, workspace, customer: { project } }: CustomerContext): string | null {
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
  scope_missing: 'card.state.scopeMissing',
  unavailable: 'card.state.storedData',
} as const;

/** Refreshes the customer from RevenueCat and reads the card again. */
export async function refresh(before: CustomerContext): Promise<CardAnswer> {
  const { app, request, formState, messages: m } = before;
  const { subscriber, project } = before.customer;
  const { workspaceId } = request;
  const refreshing = refreshSubscriber(
    app,
    { ...subscriber, workspaceId },
    { priority: 'interactive' },
  ).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    return error.code === 'revenuecat_scope_missing' ? 'scope_missing' : 'unavailable';
  });
  const outcome = await withTimeout(refreshing, REFRESH_WAIT_MS, () => 'later' as const);
  // The names of products may have been read with the customer.
  app.catalog.invalidate(workspaceId, project.projectId);
  const record = await app.cards.read(workspaceId, cardQuery(request, formState));
  const context = record && createCardContext(before, record);
  const candidate = context?.candidates.find(({ subscriberId }) => subscriberId === subscriber.subscriberId);
  const customer = context && candidate ? await loadCustomer(context, candidate) : null;
  if (!context || !customer) return sentenceCanvas(before, m.t('card.state.notFound'));
  const after = { ...context, customer };
  if (outcome === 'refreshed') return overview(after, standingNotice(after));
  const dataAtMs = customer.subscriber.snapshotAtMs ?? customer.latest[0]?.atMs ?? app.now();
  return overview(after, m.t(REFRESH_NOTICES[outcome], { time: m.dateTime(dataAtMs) }));
}
