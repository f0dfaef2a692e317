import { AppError } from '../errors.ts';
import { type RefreshOutcome, refreshSubscriber } from '../subscribers/refresh.ts';
import { withTimeout } from '../time.ts';
import { hasWorkingKey } from '../workspaces/projects.ts';
import type { Candidate } from './card-repository.ts';
import { type CardContext, type CustomerContext, createCardContext } from './context.ts';
import { loadCustomer } from './customer.ts';
import { cardQuery } from './matching.ts';

/** How long the agent waits for a refresh, which then continues in the background. */
const REFRESH_WAIT_MS = 3_000;

/** Stale data triggers a background refresh. */
export function refreshIfStale({ app, request, projects }: CardContext, candidate: Candidate): void {
  const project = projects.find(({ projectId }) => projectId === candidate.projectId);
  const canRefresh = project !== undefined && hasWorkingKey(project);
  app.refreshIfStale(request.workspaceId, { ...candidate, canRefresh });
}

/**
 * Refreshes the customer from RevenueCat and reads the card again.
 *
 * @returns `context` is `null` when the customer is no longer there
 */
export async function refreshCustomer(context: CustomerContext): Promise<{
  outcome: RefreshOutcome | 'scope_missing' | 'unavailable' | 'later';
  context: CustomerContext | null;
}> {
  const { app, request, customer, formState } = context;
  const { subscriberId } = customer.subscriber;
  const { workspaceId } = request;
  const refreshing = refreshSubscriber(app, { workspaceId, subscriberId }, { priority: 'interactive' }).catch(
    (error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      return error.code === 'revenuecat_scope_missing' ? 'scope_missing' : 'unavailable';
    },
  );
  const outcome = await withTimeout(refreshing, REFRESH_WAIT_MS, () => 'later' as const);
  // The names of products may have been read with the customer.
  app.catalog.invalidate(request.workspaceId, customer.project.projectId);
  const record = await app.cards.read(request.workspaceId, cardQuery(request, formState));
  const again = record && createCardContext(context, record);
  const candidate = again?.candidates.find((known) => known.subscriberId === subscriberId);
  const refreshed = again && candidate ? await loadCustomer(again, candidate) : null;
  return { outcome, context: again && refreshed ? { ...again, customer: refreshed } : null };
}
