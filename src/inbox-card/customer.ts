import { type Action, type Grant, grantEndMs } from '../grants/action.ts';
import { endOrForever, isSameEnd } from '../grants/durations.ts';
import { isMissingFromSnapshot, readFallbackEvents } from '../grants/fallback-events.ts';
import { listActions } from '../grants/repository.ts';
import { type HistorySource, ownSource, readHistory } from '../subscribers/history.ts';
import { findInProject } from '../subscribers/search.ts';
import type { TimelineEntry } from '../subscribers/stored-events.ts';
import { deriveSummary } from '../subscribers/summaries.ts';
import { bestAppUserIds } from '../subscription/contact-values.ts';
import { type CustomerDescription, describeCustomer } from '../subscription/describe-customer.ts';
import { deriveState } from '../subscription/state.ts';
import { isCurrentSummary, type SubscriberSummary } from '../subscription/summary.ts';
import type { SubscriberState, SubscriptionState } from '../subscription/types.ts';
import type { Candidate } from './card-repository.ts';
import type { CardApp, CardContext } from './context.ts';
import type { CardRequest } from './request.ts';

export type Customer = Awaited<ReturnType<typeof loadCustomer>>;

export interface CustomerContext extends CardContext {
  readonly customer: Customer;
}

/**
 * The subscriber that a card is about: the one that the teammate chose, else by a saved link, else by `external_id`.
 * `undefined`: no subscriber, or one in each of several projects.
 */
export function certainCandidate({ candidates }: CardContext): Candidate | undefined {
  const chosen = candidates.find(({ matchedBy }) => matchedBy === 'chosen');
  const [first, ...others] = candidates;
  return chosen ?? (others.length === 0 ? first : undefined);
}

/** Whether the customer has grants, or actions were made for them here. */
export function hasGrantsOrActions({ hasActions, state }: Customer): boolean {
  return hasActions || state.grants.some(({ givesAccess }) => givesAccess);
}

/** Whether the contact would see their own data in the customer's card. */
export function canShare(
  { externalId, isLead }: Pick<CardRequest['contact'], 'externalId' | 'isLead'>,
  appUserIds: readonly string[],
): boolean {
  return !isLead && externalId !== null && appUserIds.includes(externalId);
}

export async function loadCustomer(app: CardApp, candidate: Candidate) {
  const customer = await readStoredCustomer(app, candidate);
  if (!candidate.hasActions) return customer;
  // A webhook stored between these reads replaces its fallback event but is missing from the summary: read again.
  const { project, subscriberId } = candidate;
  const current = await app.cards.readSubscriber(project.workspaceId, subscriberId);
  const version = current?.candidates[0]?.version ?? candidate.version;
  return version === candidate.version ? customer : readStoredCustomer(app, { ...candidate, version });
}

async function readStoredCustomer(app: CardApp, candidate: Candidate) {
  const { subscriberId, project } = candidate;
  const { workspaceId } = project;
  const sql = app.readDatabase;
  const [names, actions, { summary, sources }] = await Promise.all([
    app.catalog.names(sql, workspaceId, project.projectId),
    candidate.hasActions ? listActions(sql, { workspaceId, subscriberId }) : Promise.resolve<Action[]>([]),
    readSummary(app, candidate),
  ]);
  const grantActions = actions.filter((action): action is Grant => action.kind === 'grant');
  const fallbackEvents = await readFallbackEvents(sql, actions);
  const state = await stateWithFallbacks(app, candidate, { summary, fallbackEvents });
  const counts = { ...summary.counts };
  for (const { environment } of fallbackEvents) counts[environment ?? 'production'] += 1;
  const grantedBy = (subscription: SubscriptionState) => granterOf(grantActions, subscription);
  const description = describeCustomer(state, { names, nowMs: app.now(), grantedBy });
  const latest = [...fallbackEvents, ...summary.latest].sort((a, b) => b.atMs - a.atMs).slice(0, 3);
  return {
    ...candidate,
    state,
    names,
    /** What the state means, for sentences and tables. */
    description,
    /** Subscriber id of the customer that purchases were transferred to; `null`: none, or unknown here. */
    receiverId: await findReceiver(app, candidate, description),
    /** The newest events that matter, newest first, including `fallbackEvents`. */
    latest,
    /** When the stored data was last updated. */
    dataAtMs: candidate.snapshotAtMs ?? latest[0]?.atMs ?? app.now(),
    counts,
    /** Events for actions made here whose webhook has not arrived yet. */
    fallbackEvents,
    /** Where the timeline's events come from. */
    sources,
    /** The newest actions made here. */
    actions,
    /** The grants among `actions`. */
    grantActions,
    appUserId: bestAppUserIds(summary.state, candidate.appUserIds)[0] ?? '',
  };
}

/** The customer who received the purchases, if the card's sentence says that they were transferred away. */
async function findReceiver(
  app: CardApp,
  { subscriberId, project }: Candidate,
  { statements, movedTo }: CustomerDescription,
): Promise<string | null> {
  if (movedTo === null || !statements.some(({ kind }) => kind === 'moved')) return null;
  const receivers = await findInProject(app.readDatabase, project, movedTo.appUserIds);
  return receivers.find((id) => id !== subscriberId) ?? null;
}

/** The stored summary, or one derived from the whole history and stored for the next card. */
async function readSummary(
  app: CardApp,
  candidate: Candidate,
): Promise<{ readonly summary: SubscriberSummary; readonly sources: readonly HistorySource[] }> {
  const { subscriberId, version, project } = candidate;
  const { workspaceId } = project;
  const nowMs = app.now();
  if (isCurrentSummary(candidate.summary, version, nowMs)) {
    const stored = await app.cards.summary(workspaceId, subscriberId);
    // A newer one may have replaced it since the candidate was read.
    if (stored !== null && isCurrentSummary(stored, version, nowMs))
      return { summary: stored.summary, sources: [ownSource(subscriberId)] };
  }
  return deriveSummary(app, workspaceId, { subscriberId, version });
}

/** The state with actions made here that it lacks. Reads the whole history, but only while there are such actions. */
async function stateWithFallbacks(
  app: CardApp,
  { snapshotAtMs, subscriberId, project }: Candidate,
  current: { readonly summary: SubscriberSummary; readonly fallbackEvents: readonly TimelineEntry[] },
): Promise<SubscriberState> {
  const missing = current.fallbackEvents.filter((event) => isMissingFromSnapshot(snapshotAtMs, event));
  if (missing.length === 0) return current.summary.state;
  const stored = await readHistory(app.readDatabase, project.workspaceId, subscriberId);
  return deriveState([...stored.events, ...missing], stored.snapshot, app.now());
}

/** The teammate who made the current grant, recognized by its end; `null`: it was not made here. */
function granterOf(grantActions: readonly Grant[], subscription: SubscriptionState): string | null {
  const made = grantActions.find(
    (grant) =>
      grant.state === 'confirmed' &&
      // RevenueCat kept an earlier grant, which this teammate did not make.
      !grant.isUnchanged &&
      subscription.entitlements.includes(grant.lookupKey) &&
      isSameEnd(grantEndMs(grant), endOrForever(subscription.endsAtMs)),
  );
  return made?.admin.name || null;
}
