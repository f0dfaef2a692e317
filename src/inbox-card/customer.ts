import { endOrForever, isSameEnd } from '../grants/durations.ts';
import { listGrants } from '../grants/repository.ts';
import { fallbackEvents as fallbackEventsOf } from '../grants/timeline.ts';
import { type Grant, grantEndMs } from '../grants/types.ts';
import { findByEmail } from '../subscribers/find-store.ts';
import { ownSource, readHistoryWithSources, type TimelineEntry } from '../subscribers/store.ts';
import { bestAppUserIds } from '../subscription/attributes.ts';
import { describeCustomer } from '../subscription/describe-customer.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { deriveState } from '../subscription/state.ts';
import { isUsable, type SubscriberSummary, saveSummaries, summarize } from '../subscription/summary.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type { CardContext, Customer } from './context.ts';
import { type Candidate, describeFound, type Found, readSnapshot } from './store.ts';

/** Whom a card is about. */
export type Match =
  | { readonly kind: 'one'; readonly candidate: Candidate }
  /** One in each of several projects, all of them by a link or the external id. */
  | { readonly kind: 'projects'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'possible'; readonly found: readonly Found[] }
  | { readonly kind: 'none' };

/**
 * By what the teammate chose, else by a saved link, else by `external_id`, else by e-mail where the workspace
 * wants it. An e-mail can be written by anybody with the public key, so it only ever gives a possible match.
 */
export async function matchContact(context: CardContext): Promise<Match> {
  const { candidates, request, workspace } = context;
  const chosen = candidates.find((candidate) => candidate.why === 'chosen');
  const candidate = chosen ?? candidates[0];
  if (candidate) {
    return chosen || candidates.length === 1 ? { kind: 'one', candidate } : { kind: 'projects', candidates };
  }
  const { email } = request.contact;
  if (email !== null && workspace.settings.contacts.matchByEmail) {
    const found = await findFound(context, email);
    if (found.length > 0) return { kind: 'possible', found };
  }
  return { kind: 'none' };
}

async function findFound(context: CardContext, email: string): Promise<Found[]> {
  const sql = context.services.readDatabase;
  const { workspaceId } = context.request;
  const found = await findByEmail(sql, workspaceId, email);
  return found.length === 0
    ? []
    : describeFound(sql, workspaceId, [...new Set(found.map((entry) => entry.subscriberId))]);
}

/** The external id that may name a subscriber; `null` for one that broken apps give to everybody. */
export function usableExternalId(externalId: string | null): string | null {
  return externalId === null || isBlockedId(externalId) ? null : externalId;
}

/** `null`: the project is not connected any more. */
export async function loadCustomer(context: CardContext, candidate: Candidate): Promise<Customer | null> {
  const { request, services, projects } = context;
  const { workspaceId } = request;
  const { subscriberId } = candidate;
  const project = projects.find((known) => known.projectId === candidate.projectId);
  if (!project) return null;
  const sql = services.readDatabase;
  const [names, grants, read] = await Promise.all([
    services.catalog.names(sql, workspaceId, project.projectId),
    candidate.hasGrants ? listGrants(sql, workspaceId, subscriberId) : [],
    readSummary(context, candidate),
  ]);
  const { summary } = read;
  const fallbackEvents = fallbackEventsOf(grants, summary.promotional);
  const state = await stateWith(context, candidate, summary, fallbackEvents);
  const counts = { ...summary.counts, production: summary.counts.production + fallbackEvents.length };
  return {
    subscriber: candidate,
    project,
    state,
    description: describeCustomer(state, {
      names,
      nowMs: services.now(),
      counts,
      grantedBy: (grant) => granterOf(grants, grant),
    }),
    latest: [...fallbackEvents, ...summary.latest].sort((a, b) => b.atMs - a.atMs).slice(0, 3),
    counts,
    fallbackEvents,
    sources: read.sources,
    grants,
    names,
    link: candidate.link,
    appUserId: bestAppUserIds(summary.state, candidate.appUserIds)[0] ?? '',
  };
}

interface SummaryRead {
  readonly summary: SubscriberSummary;
  readonly sources: Customer['sources'];
}

/** The kept summary, or one made of the whole history and kept for the next card. */
async function readSummary(context: CardContext, candidate: Candidate): Promise<SummaryRead> {
  const { services, request } = context;
  const { workspaceId } = request;
  const { subscriberId, kept, version } = candidate;
  const nowMs = services.now();
  if (isUsable(kept, version, nowMs)) {
    const stored = await services.readCard.summary(workspaceId, subscriberId);
    // A newer one may have taken its place meanwhile.
    if (stored !== null && isUsable(stored, version, nowMs))
      return { summary: stored.summary, sources: [ownSource(subscriberId)] };
  }
  const sql = services.readDatabase;
  const [snapshot, history] = await Promise.all([
    readSnapshot(sql, workspaceId, subscriberId),
    readHistoryWithSources(sql, workspaceId, subscriberId),
  ]);
  const summary = summarize(history.events, snapshot, nowMs);
  // With purchases of another subscriber in it, it would not notice that one's late events.
  if (history.sources.length === 1) {
    saveSummaries(services.database, workspaceId, [{ subscriberId, version, summary, nowMs }]).catch(
      (error) => services.logger.warn({ err: error, workspaceId, subscriberId }, 'could not keep a summary'),
    );
  }
  return { summary, sources: history.sources };
}

/**
 * A grant made here counts before its webhook comes. Once RevenueCat's API was read after it, that is the newer
 * word; only in the moments between the whole history is read for it.
 */
async function stateWith(
  context: CardContext,
  candidate: Candidate,
  summary: SubscriberSummary,
  fallbackEvents: readonly TimelineEntry[],
): Promise<Customer['state']> {
  const { snapshotAtMs, subscriberId } = candidate;
  const untold = fallbackEvents.filter((event) => snapshotAtMs === null || event.atMs > snapshotAtMs);
  if (untold.length === 0) return summary.state;
  const { services, request } = context;
  const sql = services.readDatabase;
  const [snapshot, history] = await Promise.all([
    readSnapshot(sql, request.workspaceId, subscriberId),
    readHistoryWithSources(sql, request.workspaceId, subscriberId),
  ]);
  return deriveState([...history.events, ...untold], snapshot, services.now());
}

/** The teammate who made the grant that still holds, recognized by its end; `null`: it was not made here. */
function granterOf(grants: readonly Grant[], subscription: SubscriptionState): string | null {
  const made = grants.find(
    (grant) =>
      grant.state === 'confirmed' &&
      // RevenueCat kept an earlier grant, which this teammate did not make.
      !grant.isUnchanged &&
      subscription.entitlements.includes(grant.lookupKey) &&
      isSameEnd(grantEndMs(grant), endOrForever(subscription.endsAtMs)),
  );
  return made?.admin.name || null;
}
