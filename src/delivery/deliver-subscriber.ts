import { queueContactClear } from '../contacts/jobs.ts';
import { createContact, findContact, idToCreate } from '../contacts/match.ts';
import {
  findPreferred,
  linkSurvivor,
  moveLinks,
  rewriteContactAttributes,
  unlinkSurvivor,
} from '../contacts/repository.ts';
import { AppError, answerOrError } from '../errors.ts';
import { findTransferReceivers } from '../subscribers/history.ts';
import { markPending, rewriteAttributesOf } from '../subscribers/repository.ts';
import type { TimelineEntry } from '../subscribers/stored-events.ts';
import { bestAppUserIds, contactAttributes } from '../subscription/contact-values.ts';
import { type SubscriberSummary, summarize } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { isRefusal } from '../workspaces/refusals.ts';
import type { Claim, FinishedClaim } from './claims.ts';
import type { DeliveryRun } from './context.ts';
import { planWithOthers } from './event-deliveries.ts';
import { backOff, type Interruption, type Later, nextContactLookup } from './failures.ts';
import {
  changedAttributes,
  isUnsaved,
  nextChangeAt,
  type PlannedEvent,
  type PlannedSend,
  planEvents,
} from './plan.ts';
import { type SentEvents, sendEvents, type WriteResult, writeAttributes } from './send.ts';

/** A contact that was merged more often than this is looked up again. */
const MAX_HOPS = 3;
/** A subscriber with nothing to send is looked up this often. */
const MAX_IDLE_LOOKUPS = 6;

/**
 * Delivers what is pending for one claimed subscriber: the events oldest first, then the attributes once.
 *
 * Running it twice changes nothing on the contact: name and second of each event are stored before it is sent, and
 * Intercom removes the repeat.
 *
 * @returns how to release the subscriber
 * @throws LeaseLostError
 */
export async function deliverSubscriber(run: DeliveryRun): Promise<FinishedClaim> {
  const { context, claim, workspace, subscriber } = run;
  const { workspaceId, subscriberId } = claim;
  const { events, own } = run.history;
  const nowMs = context.now();
  const summary = summarize(events, subscriber.snapshot, nowMs);
  const { state } = summary;
  const savingSummary = saveSummary(run, summary, nowMs);
  const planned = planEvents(own, workspace.settings);
  const changes = planned.filter(isUnsaved);
  const saving =
    changes.length > 0
      ? context.writer.savePlan(workspaceId, { subscriberId, events: changes })
      : Promise.resolve();
  saving.catch(() => {});
  if (isBeforeTransfer(events, changes)) await updateReceivers(run);

  const appUserIds = bestAppUserIds(state, subscriber.appUserIds);
  const isStateKnown = claim.isConnected && !isUnknown(state, claim);
  const wanted = isStateKnown ? contactAttributes(state, appUserIds) : {};
  const toSend = planned.filter((event) => event.action === 'send');
  const first = toSend[0]?.entry.delivery;
  const wakeAtMs = nextChangeAt(state, nowMs);
  let finished: FinishedClaim;
  if (toSend.length === 0 && Object.keys(changedAttributes(wanted, claim.attributesWritten)).length === 0) {
    finished = { ...unchanged(claim), dueAtMs: wakeAtMs, attempts: 0 };
  } else if (first?.nextTryAtMs && first.nextTryAtMs > nowMs) {
    const pending = { pendingEvents: toSend.length, pendingReason: first.reason };
    finished = { ...unchanged(claim), dueAtMs: first.nextTryAtMs, ...pending };
  } else {
    const lastEventMs = state.lastEvent?.atMs ?? 0;
    finished = await deliverTo(run, { appUserIds, toSend, wanted, lastEventMs, wakeAtMs, saving });
    await clearFormerContacts(run, finished);
    const newestMs = events.at(-1)?.atMs ?? 0;
    const isStale = subscriber.snapshotAtMs === null || subscriber.snapshotAtMs <= newestMs;
    if (changes.length > 0 && claim.hasApiKey && isStale)
      await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  }
  await Promise.all([saving, savingSummary]);
  return finished;
}

/**
 * Whether nothing is known of what the customer has: there were only tests, paywalls or sandbox events. What others
 * wrote to the contact, RevenueCat's own integration for one, then stays.
 */
function isUnknown(state: SubscriberState, claim: Claim): boolean {
  return claim.attributesWritten === null && state.lastEvent === null && state.snapshotAtMs === null;
}

/** The next card then reads few bytes instead of the history. Without it the card makes its own. */
async function saveSummary(run: DeliveryRun, summary: SubscriberSummary, nowMs: number): Promise<void> {
  const { context, claim } = run;
  const { workspaceId, subscriberId, version } = claim;
  const { sources } = run.history;
  const saved = { subscriberId, version, summary, nowMs, sources };
  await context.writer.saveSummary(workspaceId, saved).catch((error: unknown) => {
    context.logger.warn({ err: error, workspaceId, subscriberId }, 'could not store a summary');
  });
}

/** Whether something is new that happened before this subscriber's purchases were transferred. */
function isBeforeTransfer(history: readonly TimelineEntry[], changes: readonly PlannedEvent[]): boolean {
  const last = history.findLast((event) => event.side === 'source');
  if (!last) return false;
  const ids = new Set(changes.map(({ entry }) => entry.id));
  return history.some((event) => ids.has(event.id) && event.atMs <= last.atMs);
}

/**
 * Wakes those that got this subscriber's purchases: an event has arrived after their transfer that happened before it.
 * They are read again, too: RevenueCat may not have had the transferred purchase when they were read last.
 */
async function updateReceivers({ context, claim }: DeliveryRun): Promise<void> {
  const { workspaceId, subscriberId: sourceId, hasApiKey } = claim;
  const receivers = await findTransferReceivers(context.database, workspaceId, sourceId);
  await markPending(context.database, workspaceId, receivers);
  if (!hasApiKey) return;
  for (const subscriberId of receivers)
    await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
}

/** Nothing was done, and nothing is left to do. */
export function unchanged(claim: Claim): FinishedClaim {
  const { contactId, attributesWritten, failures: attempts } = claim;
  const nothingPending = { waiting: false, pendingEvents: 0, pendingReason: null };
  return { claim, dueAtMs: null, contactId, attributesWritten, attempts, ...nothingPending };
}

interface Work {
  /** The best first. */
  readonly appUserIds: readonly string[];
  readonly toSend: readonly PlannedSend[];
  readonly wanted: Readonly<Record<string, unknown>>;
  /** Of the event that the attributes name last; 0: none. */
  readonly lastEventMs: number;
  /** When time alone will change the attributes. */
  readonly wakeAtMs: number | null;
  /** Resolves when name and second of each event are stored. */
  readonly saving: Promise<void>;
}

/** Finds the contact and writes to it; when it was merged or deleted, to the one that replaces it. */
async function deliverTo(run: DeliveryRun, work: Work): Promise<FinishedClaim> {
  const { context } = run;
  const gone = new Set<string>();
  let followed: string | null = null;
  let { claim } = run;
  let contactId = mayHaveBetterId(claim, work.wanted) ? null : claim.contactId;
  let left = work.toSend;
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const search = { ...work, gone, mayCreate: left.length > 0 && followed === null };
    const found = contactId ?? (await answerOrError(resolveContact(run, search)));
    if (found instanceof AppError) return postponed(claim, await backOff(run, found), left);
    contactId = found ?? followed;
    await work.saving;
    if (contactId === null) break;

    const others = await context.writer.assignContact(claim.workspaceId, { claim, contactId });
    const planned = others && (await planAgain(run, left, others));
    if (!others || !planned) return { ...unchanged(claim), dueAtMs: context.now() };
    if (contactId !== claim.contactId) claim = { ...claim, contactId, attributesWritten: null };
    const sent = await sendEvents(run, contactId, planned);
    left = sent.left;
    const burst: Burst = { ...work, ...sent, claim, contactId, others };
    const end = await finishBurst(run, burst);
    if ('claim' in end) return end;
    gone.add(contactId);
    followed = end.kind === 'follow_contact' ? end.contactId : null;
    contactId = null;
  }
  return waitForContact(claim, left.length, context.now());
}

/** Clears the contacts that the customer had before: they would keep showing attributes that are no longer theirs. */
async function clearFormerContacts(
  { context, claim, history }: DeliveryRun,
  finished: FinishedClaim,
): Promise<void> {
  const { workspaceId, contactId, attributesWritten } = claim;
  const former = new Set([contactId]);
  // After a merge the row has only one of the contacts; where events went is known of all. One of them may be the right
  // one: as long as the lookup fails, or nothing is written, none is cleared.
  if (attributesWritten === null && finished.attributesWritten !== null)
    for (const { delivery } of history.own) former.add(delivery.contactId);
  former.delete(finished.contactId);
  for (const each of former)
    if (each !== null) await queueContactClear(context.jobs, { workspaceId, contactId: each });
  // Another customer may have it as well, whose attributes were replaced.
  if (contactId !== null && former.has(contactId))
    await rewriteContactAttributes(context.database, workspaceId, contactId);
}

/** Plans together with others who write to the same contact: an event with a name and second of theirs is moved. */
async function planAgain(
  { context, claim, history, workspace }: DeliveryRun,
  left: readonly PlannedSend[],
  others: readonly string[],
): Promise<readonly PlannedSend[] | null> {
  if (others.length === 0) return left;
  const planned = await planWithOthers(context.database, { ...claim, others }, (theirs) =>
    planEvents(history.own, workspace.settings, theirs),
  );
  if (planned === null) return null;
  const entries = new Set(left.map(({ entry }) => entry));
  return planned.filter((event): event is PlannedSend => event.action === 'send' && entries.has(event.entry));
}

interface Burst extends Pick<Work, 'wanted' | 'lastEventMs' | 'wakeAtMs'>, SentEvents {
  readonly claim: Claim;
  readonly contactId: string;
  /** Who may write to the contact as well. */
  readonly others: readonly string[];
}

type ContactGone = Exclude<Interruption, Later>;

/** Writes the attributes after the events. @returns how to release the subscriber, unless the contact is gone */
async function finishBurst(run: DeliveryRun, burst: Burst): Promise<FinishedClaim | ContactGone> {
  const { claim, left, interruption, wakeAtMs } = burst;
  if (interruption !== null && interruption.kind !== 'later') return interruption;
  // Where Intercom accepts no events for now, attributes can still be written.
  if (interruption !== null && !isRefusal(interruption.reason)) return postponed(claim, interruption, left);
  const result = await writeOwnAttributes(run, burst);
  if (result.kind === 'written') {
    const sentAll = { ...unchanged(claim), dueAtMs: wakeAtMs, attempts: 0 };
    const released = interruption === null ? sentAll : postponed(claim, interruption, left);
    return { ...released, attributesWritten: result.values };
  }
  if (result.kind !== 'later') return result;
  const waiting = postponed(claim, result, left);
  // Without an answer they may have been written, and the state may be as before when they are tried again.
  const isUnknown = result.counts > 0 && !isRefusal(result.reason);
  return isUnknown ? { ...waiting, attributesWritten: null } : waiting;
}

/**
 * Writes the attributes, unless the contact shows those of another customer, or more events have arrived: the run that
 * follows then writes them once.
 */
async function writeOwnAttributes(run: DeliveryRun, burst: Burst): Promise<WriteResult> {
  const { database, writer } = run.context;
  const { claim, contactId, others, wanted } = burst;
  // What others wrote there since is unknown: only all attributes together are one customer's state.
  const written = others.length > 0 ? null : claim.attributesWritten;
  const isHidden = (await findPreferred(database, claim, burst)).length > 0;
  const isOver = isHidden || (await writer.hasChanged(claim.workspaceId, claim));
  const end = isOver
    ? ({ kind: 'written', values: written } as const)
    : await writeAttributes(run, contactId, { wanted, written });
  // What this run wrote, or one before it that was overtaken, may have replaced the attributes that are shown now.
  if (!isHidden || claim.attributesWritten === null)
    await rewriteAttributesOf(database, claim.workspaceId, await findPreferred(database, claim, burst));
  return end;
}

function postponed(claim: Claim, end: Later, left: readonly PlannedSend[]): FinishedClaim {
  return {
    ...unchanged(claim),
    dueAtMs: end.atMs,
    attempts: claim.failures + end.counts,
    pendingEvents: left.length,
    pendingReason: end.reason,
  };
}

/**
 * Whether the customer may have become known under a better app user id since the contact was found: an anonymous one
 * logged in. That id may have a contact of its own, which takes precedence. Nothing written: a run found the
 * contact and did not end, or more has arrived since.
 */
function mayHaveBetterId({ attributesWritten }: Claim, wanted: Work['wanted']): boolean {
  if (attributesWritten === null) return true;
  const known = attributesWritten.rc_app_user_id;
  return typeof known === 'string' && known !== wanted.rc_app_user_id;
}

/** @param search.mayCreate attributes alone are no reason to create a contact, or to unarchive one */
async function resolveContact(
  run: DeliveryRun,
  search: { appUserIds: readonly string[]; gone: ReadonlySet<string>; mayCreate: boolean },
): Promise<string | null> {
  const { context, claim, workspace, client, subscriber } = run;
  const { settings, workspaceId } = workspace;
  const { email, linkedContactIds } = subscriber;
  const { appUserIds, gone } = search;
  const found = await findContact(client, { linkedContactIds, appUserIds, email, settings, gone });
  if (found?.mergedLink !== undefined) {
    const merge = { from: found.mergedLink, into: found.contactId };
    await context.database.transaction((sql) => moveLinks(sql, workspaceId, merge));
  }
  if (found?.survivor) await linkSurvivor(context.database, claim, found.survivor);
  if (found?.isOwn) await unlinkSurvivor(context.database, { ...claim, contactId: found.contactId });
  if (found !== null) return found.contactId;
  const appUserId = search.mayCreate ? idToCreate(appUserIds, settings) : null;
  return appUserId === null ? null : createContact(client, { appUserId, email });
}

function waitForContact(claim: Claim, pendingEvents: number, nowMs: number): FinishedClaim {
  const lookups = claim.lookups + 1;
  const isDue = pendingEvents > 0 || lookups <= MAX_IDLE_LOOKUPS;
  return {
    claim,
    dueAtMs: isDue ? nextContactLookup(lookups, nowMs) : null,
    contactId: null,
    attributesWritten: null,
    attempts: lookups,
    waiting: true,
    pendingEvents,
    pendingReason: 'waiting_for_contact',
  };
}
