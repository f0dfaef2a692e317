import { createContact, findContact, idToCreate } from '../contacts/match.ts';
import {
  markTransferReceiversPending,
  type SentMark,
  type Subscriber,
  type TimelineEntry,
} from '../subscribers/store.ts';
import { bestAppUserIds, contactAttributes } from '../subscription/attributes.ts';
import { type SubscriberSummary, summarize } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { giveWay, type Round } from './attempt.ts';
import type { Claimed } from './claimed.ts';
import { explainPending, planBeside } from './outbox-store.ts';
import {
  changedAttributes,
  nextChangeAt,
  type OutboxEntry,
  outboxOf,
  type Plan,
  type PlannedEvent,
  planEvents,
} from './plan.ts';
import { nextContactLookup } from './retry-policy.ts';
import { type SendPlan, sendEvents } from './send-events.ts';
import type { Claim, Ending } from './store.ts';
import { writeAttributes } from './write-attributes.ts';

/** A contact that was merged more often than this is looked for anew. */
const MAX_HOPS = 3;

/**
 * Delivers what is pending for one claimed subscriber: the events oldest first, then the attributes once.
 *
 * Running it twice changes nothing on the contact: name and second of each event are stored before it is
 * sent, and Intercom removes the repeat.
 *
 * @param claimed `null`: the subscriber is gone
 * @returns how to give the subscriber back; `null`: somebody else has it already
 */
export async function deliverSubscriber(round: Round, claimed: Claimed | null): Promise<Ending | null> {
  const { context, workspace, claim } = round;
  const { workspaceId, subscriberId } = claim;
  if (!claimed) return { ...unchanged(claim), dueAtMs: null };
  const { subscriber } = claimed;
  const { events: history, sources, own } = claimed.history;
  const outbox = outboxOf(own);
  const nowMs = context.now();
  const summary = summarize(history, subscriber.snapshot, nowMs);
  const { state } = summary;
  const kept = sources.length === 1 ? keepSummary(round, summary, nowMs) : null;
  const appUserIds = bestAppUserIds(state, subscriber.appUserIds);
  const wanted = isUnknown(state, claim) ? {} : contactAttributes(state, appUserIds);
  const plan = (others: readonly SentMark[]): Plan => {
    const planned = planEvents(history, outbox, workspace.settings, others);
    return { planned, news: planned.filter((event) => isChanged(event, outbox)) };
  };
  const isBeside = claimed.sharing.length > 0 && [...outbox.values()].some(({ isPending }) => isPending);
  const { planned, news } = isBeside
    ? await planBeside(context.database, workspaceId, subscriberId, claimed.sharing, plan)
    : plan([]);
  if (isLateForTransfer(history, news))
    await markTransferReceiversPending(context.database, workspaceId, subscriberId);
  // Stored while the contact is looked for, and before anything is sent.
  const saving = news.length > 0 && !isBeside ? context.writer.plan(workspaceId, news) : Promise.resolve();
  saving.catch(() => {});
  const toSend = planned.filter((event) => event.action === 'send');

  const wakeAtMs = nextChangeAt(state, nowMs);
  const nothingToWrite = Object.keys(changedAttributes(wanted, claim.attributesWritten)).length === 0;
  if (toSend.length === 0 && nothingToWrite) {
    await Promise.all([saving, kept]);
    return { ...unchanged(claim), dueAtMs: wakeAtMs, attempts: 0 };
  }
  const notBeforeMs = toSend[0] ? outbox.get(toSend[0].eventId)?.nextTryAtMs : null;
  if (notBeforeMs && notBeforeMs > nowMs) {
    await Promise.all([saving, kept]);
    return { ...unchanged(claim), dueAtMs: notBeforeMs };
  }

  const ending = await deliverTo(round, claimed, { appUserIds, toSend, outbox, wanted, wakeAtMs, saving });
  await Promise.all([saving, kept]);
  if (news.length > 0 && claim.canRefresh && !isNewerThan(subscriber, history.at(-1)?.atMs ?? 0)) {
    await context.requestRefresh(workspaceId, subscriberId);
  }
  return ending;
}

/**
 * Whether nothing is known of what the customer has: tests, paywalls or the sandbox are all that was heard of.
 * What others wrote to the contact, RevenueCat's own integration for one, then stays.
 */
function isUnknown(state: SubscriberState, claim: Claim): boolean {
  return claim.attributesWritten === null && state.lastEvent === null && state.snapshotAtMs === null;
}

/** The next card then reads few bytes instead of the history that is in hand here. One that fails is made by it. */
async function keepSummary(round: Round, summary: SubscriberSummary, nowMs: number): Promise<void> {
  const { context, claim } = round;
  const { workspaceId, subscriberId } = claim;
  try {
    await context.writer.keep(workspaceId, { subscriberId, version: Number(claim.version), summary, nowMs });
  } catch (error) {
    context.logger.warn({ err: error, workspaceId, subscriberId }, 'could not keep a summary');
  }
}

function isChanged(event: PlannedEvent, outbox: ReadonlyMap<string, OutboxEntry>): boolean {
  const mark = outbox.get(event.eventId)?.mark;
  return event.action === 'skip' || mark?.name !== event.eventName || mark.atS !== event.createdAtS;
}

/** Whether something is new that happened before this subscriber's purchases went to somebody else. */
function isLateForTransfer(history: readonly TimelineEntry[], news: readonly PlannedEvent[]): boolean {
  const last = history.findLast((event) => event.side === 'source');
  if (!last) return false;
  const ids = new Set(news.map((event) => event.eventId));
  return history.some((event) => ids.has(event.id) && event.atMs <= last.atMs);
}

function isNewerThan(subscriber: Subscriber, atMs: number): boolean {
  return subscriber.snapshotAtMs !== null && subscriber.snapshotAtMs > atMs;
}

function unchanged(claim: Claim): Ending {
  return {
    dueAtMs: null,
    contactId: claim.contactId,
    attributesWritten: claim.attributesWritten,
    attempts: claim.attempts,
    waiting: false,
  };
}

interface Work {
  /** The best first. */
  readonly appUserIds: readonly string[];
  readonly toSend: readonly SendPlan[];
  readonly outbox: ReadonlyMap<string, OutboxEntry>;
  readonly wanted: Readonly<Record<string, unknown>>;
  /** When time alone will change the attributes. */
  readonly wakeAtMs: number | null;
  /** Resolves when name and second of each event are stored. */
  readonly saving: Promise<void>;
}

/** Finds the contact and writes to it; when it turns out to be gone, to the one that stands for it. */
async function deliverTo(round: Round, claimed: Claimed, work: Work): Promise<Ending | null> {
  const { claim } = round;
  const gone = new Set<string>();
  let { attributesWritten } = claim;
  let contactId = hasBetterId(claim, work.wanted) ? null : claim.contactId;
  let left = work.toSend;
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    try {
      contactId ??= await resolveContact(round, claimed, work.appUserIds, gone, left.length > 0);
      if (contactId !== claim.contactId) attributesWritten = null;
    } catch (error) {
      const { atMs, counts } = await giveWay(round, error);
      const attempts = claim.attempts + (counts ? 1 : 0);
      return { ...unchanged(claim), contactId: null, attributesWritten: null, dueAtMs: atMs, attempts };
    }
    await work.saving;
    if (contactId === null) return waitForContact(round);

    const sent = await sendEvents(round, contactId, left, work.outbox);
    left = sent.left;
    const end =
      sent.interruption ?? (await writeAttributes(round, contactId, work.wanted, attributesWritten));
    switch (end.kind) {
      case 'lost':
        return null;
      case 'written':
        return {
          dueAtMs: work.wakeAtMs,
          contactId,
          attributesWritten: end.values,
          attempts: 0,
          waiting: false,
        };
      case 'later':
        return {
          dueAtMs: end.atMs,
          contactId,
          attributesWritten,
          attempts: claim.attempts + (end.counts ? 1 : 0),
          waiting: false,
        };
      default:
        // The contact is another one now, and what was written to the old one says nothing of it.
        gone.add(contactId);
        contactId = end.kind === 'follow' && !gone.has(end.contactId) ? end.contactId : null;
        attributesWritten = null;
    }
  }
  return waitForContact(round);
}

/**
 * Whether the customer has become known under a better app user id since the contact was last written to: an
 * anonymous one logged in. That one may have a contact of its own, which comes before the one found until then.
 */
function hasBetterId(claim: Claim, wanted: Readonly<Record<string, unknown>>): boolean {
  const known = claim.attributesWritten?.rc_app_user_id;
  return typeof known === 'string' && known !== wanted.rc_app_user_id;
}

/** @param mayCreate an attribute alone is no reason to make a contact, or to bring one back from the archive */
async function resolveContact(
  round: Round,
  { subscriber, linkedContactIds }: Claimed,
  appUserIds: readonly string[],
  gone: ReadonlySet<string>,
  mayCreate: boolean,
): Promise<string | null> {
  const { workspace, client } = round;
  const { settings } = workspace;
  const { email } = subscriber;
  const found = await findContact(client, { linkedContactIds, appUserIds, email, settings, gone });
  if (found !== null) return found;
  const appUserId = mayCreate ? idToCreate(appUserIds, settings) : null;
  return appUserId === null ? null : createContact(client, { appUserId, email });
}

async function waitForContact(round: Round): Promise<Ending> {
  const { context, claim } = round;
  await explainPending(context.database, claim.workspaceId, claim.subscriberId, 'waiting_for_contact');
  const lookups = claim.attempts + 1;
  return {
    dueAtMs: nextContactLookup(lookups, context.now()),
    contactId: null,
    attributesWritten: null,
    attempts: lookups,
    waiting: true,
  };
}
