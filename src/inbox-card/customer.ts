import { standInsFor } from '../grants/grants-on-timeline.ts';
import { listGrants } from '../grants/store.ts';
import { findByEmail } from '../subscribers/find-store.ts';
import { ownSource, readHistoryWithSources, type TimelineEntry } from '../subscribers/store.ts';
import { bestAppUserIds } from '../subscription/attributes.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { deriveState } from '../subscription/state.ts';
import { isUsable, type SubscriberSummary, saveSummaries, summarize } from '../subscription/summary.ts';
import type { Customer, Visit } from './context.ts';
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
export async function matchContact(visit: Visit): Promise<Match> {
  const { candidates, request, workspace } = visit;
  const chosen = candidates.find((candidate) => candidate.why === 'chosen');
  const candidate = chosen ?? candidates[0];
  if (candidate) {
    return chosen || candidates.length === 1 ? { kind: 'one', candidate } : { kind: 'projects', candidates };
  }
  const { email } = request.contact;
  if (email !== null && workspace.settings.contacts.matchByEmail) {
    const found = await findFound(visit, email);
    if (found.length > 0) return { kind: 'possible', found };
  }
  return { kind: 'none' };
}

async function findFound(visit: Visit, email: string): Promise<Found[]> {
  const sql = visit.context.readDatabase;
  const { workspaceId } = visit.request;
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
export async function loadCustomer(visit: Visit, candidate: Candidate): Promise<Customer | null> {
  const { request, context, projects } = visit;
  const { workspaceId } = request;
  const { subscriberId } = candidate;
  const project = projects.find((known) => known.projectId === candidate.projectId);
  if (!project) return null;
  const sql = context.readDatabase;
  const [names, grants, read] = await Promise.all([
    context.catalog.names(sql, workspaceId, project.projectId),
    candidate.hasGrants ? listGrants(sql, workspaceId, subscriberId) : [],
    readSummary(visit, candidate),
  ]);
  const { summary } = read;
  const fallbackEvents = standInsFor(grants, summary.promotional);
  return {
    subscriber: candidate,
    project,
    state: await stateWith(visit, candidate, summary, fallbackEvents),
    latest: [...fallbackEvents, ...summary.latest].sort((a, b) => b.atMs - a.atMs).slice(0, 3),
    counts: { ...summary.counts, production: summary.counts.production + fallbackEvents.length },
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
async function readSummary(visit: Visit, candidate: Candidate): Promise<SummaryRead> {
  const { context, request } = visit;
  const { workspaceId } = request;
  const { subscriberId, kept, version } = candidate;
  const nowMs = context.now();
  if (isUsable(kept, version, nowMs)) {
    const stored = await context.readCard.summary(workspaceId, subscriberId);
    // A newer one may have taken its place meanwhile.
    if (stored !== null && isUsable(stored, version, nowMs))
      return { summary: stored.summary, sources: [ownSource(subscriberId)] };
  }
  const sql = context.readDatabase;
  const [snapshot, history] = await Promise.all([
    readSnapshot(sql, workspaceId, subscriberId),
    readHistoryWithSources(sql, workspaceId, subscriberId),
  ]);
  const summary = summarize(history.events, snapshot, nowMs);
  // With purchases of another subscriber in it, it would not notice that one's late events.
  if (history.sources.length === 1) {
    saveSummaries(context.database, workspaceId, [{ subscriberId, version, summary, nowMs }]).catch((error) =>
      context.logger.warn({ err: error, workspaceId, subscriberId }, 'could not keep a summary'),
    );
  }
  return { summary, sources: history.sources };
}

/**
 * A grant made here counts before its webhook comes. Once RevenueCat's API was read after it, that is the newer
 * word; only in the moments between the whole history is read for it.
 */
async function stateWith(
  visit: Visit,
  candidate: Candidate,
  summary: SubscriberSummary,
  fallbackEvents: readonly TimelineEntry[],
): Promise<Customer['state']> {
  const { snapshotAtMs, subscriberId } = candidate;
  const untold = fallbackEvents.filter((event) => snapshotAtMs === null || event.atMs > snapshotAtMs);
  if (untold.length === 0) return summary.state;
  const { context, request } = visit;
  const sql = context.readDatabase;
  const [snapshot, history] = await Promise.all([
    readSnapshot(sql, request.workspaceId, subscriberId),
    readHistoryWithSources(sql, request.workspaceId, subscriberId),
  ]);
  return deriveState([...history.events, ...untold], snapshot, context.now());
}
