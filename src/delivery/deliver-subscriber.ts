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

/** One run follows at most this many merges or deletions of the contact; the next lookup comes later. */
const MAX_HOPS = 3;
/** With no event to send, the lookup of a contact is repeated this many times, then no more. */
const MAX_IDLE_LOOKUPS = 6;

/**
 * Delivers what is pending for one claimed subscriber: the events oldest first, then the attributes once.
 *
 * Running it twice changes nothing on the contact: the name and second of each event are stored before it is sent, and
 * Intercom removes the repeat.
 *
 * @returns how to release the subscriber
 * @throws LeaseLostError
 */
export async function deliverSubscriber(run: DeliveryRun): Promise<FinishedClaim> {
  const { context, claim, workspace, subscriber } = run;
  const { workspaceId, subscriberId } = claim;
  const { events, ownEvents } = run.history;
  const nowMs = context.now();
  const summary = summarize(events, subscriber.snapshot, nowMs);
  const { state } = summary;
  const savingSummary = saveSummary(run, summary, nowMs);
  const planned = planEvents(ownEvents, workspace.settings);
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
    finished = { ...unchanged(claim), dueAtMs: wakeAtMs, failedTries: 0 };
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
 * Whether nothing is known about the customer's purchases, such as after only test, paywall or sandbox events. Nothing
 * is then written: what others wrote to the contact, such as RevenueCat's own integration, stays.
 */
function isUnknown(state: SubscriberState, claim: Claim): boolean {
  return claim.attributesWritten === null && state.lastEvent === null && state.snapshotAtMs === null;
}

/** Lets the next card read a few bytes instead of the history. If it fails, the card derives its own summary. */
async function saveSummary(run: DeliveryRun, summary: SubscriberSummary, nowMs: number): Promise<void> {
  const { context, claim } = run;
  const { workspaceId, subscriberId, version } = claim;
  const { sources } = run.history;
  const saved = { subscriberId, version, summary, nowMs, sources };
  await context.writer.saveSummary(workspaceId, saved).catch((error: unknown) => {
    context.logger.warn({ err: error, workspaceId, subscriberId }, 'could not store a summary');
  });
}

/** Whether one of the new events happened before this subscriber's purchases were last transferred. */
function isBeforeTransfer(history: readonly TimelineEntry[], changes: readonly PlannedEvent[]): boolean {
  const last = history.findLast((event) => event.side === 'source');
  if (!last) return false;
  const ids = new Set(changes.map(({ entry }) => entry.id));
  return history.some((event) => ids.has(event.id) && event.atMs <= last.atMs);
}

/**
 * Wakes the subscribers that received this subscriber's purchases, after an event from before the transfer arrived
 * late. RevenueCat is also read again for them: at the last read it may not have had the transferred purchase yet.
 */
async function updateReceivers({ context, claim }: DeliveryRun): Promise<void> {
  const { workspaceId, subscriberId: sourceId, hasApiKey } = claim;
  const receivers = await findTransferReceivers(context.database, workspaceId, sourceId);
  await markPending(context.database, workspaceId, receivers);
  if (!hasApiKey) return;
  for (const subscriberId of receivers)
    await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
}

/** The outcome of a delivery that did nothing and leaves nothing to do. */
export function unchanged(claim: Claim): FinishedClaim {
  const { contactId, attributesWritten, failures: failedTries } = claim;
  const nothingPending = { waiting: false, pendingEvents: 0, pendingReason: null };
  return { claim, dueAtMs: null, contactId, attributesWritten, failedTries, ...nothingPending };
}

interface Work {
  /** Best id first. */
  readonly appUserIds: readonly string[];
  readonly toSend: readonly PlannedSend[];
  readonly wanted: Readonly<Record<string, unknown>>;
  /** When the event in the attribute `rc_last_event` happened (epoch ms); 0: no event. */
  readonly lastEventMs: number;
  /** When time alone will change the attributes. */
  readonly wakeAtMs: number | null;
  /** Resolves when the name and second of each event are stored. */
  readonly saving: Promise<void>;
}

/** Finds the contact and writes to it. If the contact was merged or deleted, writes to its replacement. */
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

/** Clears the customer's former contacts, which would otherwise keep showing this customer's attributes. */
async function clearFormerContacts(
  { context, claim, history }: DeliveryRun,
  finished: FinishedClaim,
): Promise<void> {
  const { workspaceId, contactId, attributesWritten } = claim;
  const former = new Set([contactId]);
  // After a merge of subscribers the row names only one of their contacts, so the others come from the events. One of
  // them may be the right contact: none is cleared until the attributes have been written.
  if (attributesWritten === null && finished.attributesWritten !== null)
    for (const { delivery } of history.ownEvents) former.add(delivery.contactId);
  former.delete(finished.contactId);
  for (const each of former)
    if (each !== null) await queueContactClear(context.jobs, { workspaceId, contactId: each });
  // Another customer may share that contact, and this customer's attributes may have replaced theirs.
  if (contactId !== null && former.has(contactId))
    await rewriteContactAttributes(context.database, workspaceId, contactId);
}

/** Plans with the other subscribers of the contact: an event whose name and second they have taken is moved. */
async function planAgain(
  { context, claim, history, workspace }: DeliveryRun,
  left: readonly PlannedSend[],
  others: readonly string[],
): Promise<readonly PlannedSend[] | null> {
  if (others.length === 0) return left;
  const planned = await planWithOthers(context.database, { ...claim, others }, (theirs) =>
    planEvents(history.ownEvents, workspace.settings, theirs),
  );
  if (planned === null) return null;
  const entries = new Set(left.map(({ entry }) => entry));
  return planned.filter((event): event is PlannedSend => event.action === 'send' && entries.has(event.entry));
}

interface Burst extends Pick<Work, 'wanted' | 'lastEventMs' | 'wakeAtMs'>, SentEvents {
  readonly claim: Claim;
  readonly contactId: string;
  /** Other subscribers that may write to the contact. */
  readonly others: readonly string[];
}

type ContactGone = Exclude<Interruption, Later>;

/** Writes the attributes after the events. @returns how to release the subscriber, unless the contact is gone */
async function finishBurst(run: DeliveryRun, burst: Burst): Promise<FinishedClaim | ContactGone> {
  const { claim, left, interruption, wakeAtMs } = burst;
  if (interruption !== null && interruption.kind !== 'later') return interruption;
  // A missing permission or plan for events does not stop the attributes from being written.
  if (interruption !== null && !isRefusal(interruption.reason)) return postponed(claim, interruption, left);
  const result = await writeOwnAttributes(run, burst);
  if (result.kind === 'written') {
    const sentAll = { ...unchanged(claim), dueAtMs: wakeAtMs, attempts: 0 };
    const released = interruption === null ? sentAll : postponed(claim, interruption, left);
    return { ...released, attributesWritten: result.values };
  }
  if (result.kind !== 'later') return result;
  const waiting = postponed(claim, result, left);
  // Without an answer they may have been written. Compared with the older values, a change back would be missed.
  const mayBeWritten = result.tries > 0 && !isRefusal(result.reason);
  return mayBeWritten ? { ...waiting, attributesWritten: null } : waiting;
}

/**
 * Writes the attributes, unless the contact shows those of another customer. If more events have arrived, leaves them
 * to the next run, so that they are written once.
 */
async function writeOwnAttributes(run: DeliveryRun, burst: Burst): Promise<WriteResult> {
  const { database, writer } = run.context;
  const { claim, contactId, others, wanted } = burst;
  // Others may have written since: only all attributes together are the state of one customer.
  const written = others.length > 0 ? null : claim.attributesWritten;
  const isHidden = (await findPreferred(database, claim, burst)).length > 0;
  const isOver = isHidden || (await writer.hasChanged(claim.workspaceId, claim));
  const end = isOver
    ? ({ kind: 'written', values: written } as const)
    : await writeAttributes(run, contactId, { wanted, written });
  // This run, or an earlier one that lost its lease, may have overwritten the attributes that the contact should show.
  if (!isHidden || claim.attributesWritten === null)
    await rewriteAttributesOf(database, claim.workspaceId, await findPreferred(database, claim, burst));
  return end;
}

function postponed(claim: Claim, end: Later, left: readonly PlannedSend[]): FinishedClaim {
  return {
    ...unchanged(claim),
    dueAtMs: end.atMs,
    failedTries: claim.failures + end.tries,
    pendingEvents: left.length,
    pendingReason: end.reason,
  };
}

/**
 * Whether a better app user id may have become known since the contact was found, such as when an anonymous customer
 * logged in. That id may have a contact of its own, which takes precedence. If no attributes are known as written, the
 * run that found the contact did not finish, or more has arrived since.
 */
function mayHaveBetterId({ attributesWritten }: Claim, wanted: Work['wanted']): boolean {
  if (attributesWritten === null) return true;
  const writtenId = attributesWritten.rc_app_user_id;
  return typeof writtenId === 'string' && writtenId !== wanted.rc_app_user_id;
}

/** @param search.mayCreate attributes alone do not justify creating or unarchiving a contact */
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
    failedTries: lookups,
    waiting: true,
    pendingEvents,
    pendingReason: 'waiting_for_contact',
  };
}
