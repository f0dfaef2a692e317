import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { provisionAttributes } from '../intercom/data-attributes.ts';
import { contactAttributes } from '../subscribers/attributes.ts';
import { deriveState } from '../subscribers/state.ts';
import { readHistory, readSubscriber, type Subscriber } from '../subscribers/store.ts';
import { markAttributesReady, markDisconnected, type Workspace } from '../workspaces/store.ts';
import { linkedContacts } from './contacts-store.ts';
import { createContact, findContact, idToCreate } from './match.ts';
import { changedAttributes, nextChangeAt, type PlannedEvent, planEvents } from './plan.ts';
import { afterFailure, nextContactLookup } from './retry-policy.ts';
import {
  type Claim,
  type Ending,
  explainPending,
  holdWorkspace,
  readMarks,
  readTries,
  recordAttempt,
  savePlan,
  settleEvent,
} from './store.ts';

export interface DeliveryContext {
  readonly database: Database;
  readonly logger: Logger;
  now(): number;
  random(): number;
  /** Counts an outcome for the metrics. */
  count(outcome: 'delivered' | 'failed' | 'retried', code: string): void;
  /** Asks RevenueCat for the subscriber's state, in the background. */
  requestRefresh(workspaceId: string, subscriberId: string): Promise<void>;
  /** Stops further calls of this process for a workspace (epoch ms). */
  hold(workspaceId: string, untilMs: number): void;
}

/** How a round ended that must stop before its end. */
type Interruption =
  | { readonly kind: 'contact_gone' }
  | { readonly kind: 'follow'; readonly contactId: string }
  | { readonly kind: 'later'; readonly atMs: number; readonly counts: boolean };

/** A contact that was merged more often than this is looked for anew. */
const MOST_HOPS = 3;

/**
 * Delivers what is pending for one claimed subscriber: the events oldest first, then the attributes once.
 *
 * Running it twice changes nothing on the contact: name and second of each event are stored before it is
 * sent, and Intercom removes the repeat.
 */
export async function deliverSubscriber(
  context: DeliveryContext,
  workspace: Workspace,
  client: IntercomClient,
  claim: Claim,
): Promise<Ending> {
  const { database } = context;
  const subscriber = await readSubscriber(database, claim.workspaceId, claim.subscriberId);
  if (!subscriber) return { ...unchanged(claim), dueAtMs: null };
  const history = await readHistory(database, claim.workspaceId, claim.subscriberId);
  const state = deriveState(history, subscriber.snapshot, context.now());
  const wanted = contactAttributes(state, subscriber.appUserIds);
  const marks = await readMarks(database, claim.workspaceId, claim.subscriberId);
  const planned = planEvents(history, marks, workspace.settings);
  if (planned.length > 0) await savePlan(database, claim.workspaceId, planned);
  if (planned.length > 0 && !isNewerThan(subscriber, history.at(-1)?.atMs ?? 0)) {
    await context.requestRefresh(claim.workspaceId, claim.subscriberId);
  }
  const toSend = planned.filter((event) => event.action === 'send');

  const wakeAtMs = nextChangeAt(state, context.now());
  const nothingToWrite = Object.keys(changedAttributes(wanted, claim.attributesWritten)).length === 0;
  if (toSend.length === 0 && nothingToWrite) {
    return { ...unchanged(claim), dueAtMs: wakeAtMs, attempts: 0, waiting: false };
  }

  let contactId = claim.contactId;
  let written = claim.attributesWritten;
  let left = toSend;
  for (let hop = 0; hop <= MOST_HOPS; hop += 1) {
    try {
      contactId ??= await resolveContact(context, workspace, client, subscriber);
    } catch (error) {
      return { ...unchanged(claim), contactId: null, ...(await giveWay(context, claim, error)) };
    }
    if (contactId === null) return waitForContact(context, claim);

    const sent = await sendEvents(context, client, claim, contactId, left);
    left = sent.left;
    const interruption =
      sent.interruption ?? (await writeAttributes(context, client, claim, contactId, wanted, written));
    if (interruption === null) {
      return { dueAtMs: wakeAtMs, contactId, attributesWritten: wanted, attempts: 0, waiting: false };
    }
    if (interruption.kind === 'later') {
      return {
        dueAtMs: interruption.atMs,
        contactId,
        attributesWritten: written,
        attempts: claim.attempts + (interruption.counts ? 1 : 0),
        waiting: false,
      };
    }
    // The contact is another one now, and what was written to the old one says nothing of it.
    contactId = interruption.kind === 'follow' ? interruption.contactId : null;
    written = null;
  }
  return waitForContact(context, claim);
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

async function resolveContact(
  context: DeliveryContext,
  workspace: Workspace,
  client: IntercomClient,
  subscriber: Subscriber,
): Promise<string | null> {
  const { workspaceId, settings } = workspace;
  const linkedContactIds = await linkedContacts(context.database, workspaceId, subscriber.subscriberId);
  const { appUserIds, email } = subscriber;
  const found = await findContact(client, { linkedContactIds, appUserIds, email, settings });
  if (found !== null) return found;
  const appUserId = idToCreate(appUserIds, settings);
  return appUserId === null ? null : createContact(client, { appUserId, email });
}

async function waitForContact(context: DeliveryContext, claim: Claim): Promise<Ending> {
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

/** What a failure outside a single event means for the whole subscriber. */
async function giveWay(
  context: DeliveryContext,
  claim: Claim,
  error: unknown,
): Promise<{ dueAtMs: number | null; attempts: number }> {
  if (!(error instanceof AppError)) throw error;
  const { workspaceId } = claim;
  const nowMs = context.now();
  context.count('retried', error.code);
  switch (error.remedy.kind) {
    case 'wait_until':
      await holdWorkspace(context.database, workspaceId, error.remedy.atMs);
      context.hold(workspaceId, error.remedy.atMs);
      return { dueAtMs: nowMs, attempts: claim.attempts };
    case 'reauthorise':
      await markDisconnected(context.database, workspaceId, error.code);
      context.logger.error({ workspaceId, code: error.code }, 'Intercom refuses the token: deliveries wait');
      return { dueAtMs: nowMs, attempts: claim.attempts };
    default: {
      const verdict = afterFailure({
        attempts: claim.attempts + 1,
        firstTriedAtMs: claim.failingSinceMs ?? nowMs,
        nowMs,
        remedy: { kind: 'retry' },
        random: context.random(),
      });
      await explainPending(context.database, workspaceId, claim.subscriberId, error.code);
      // A refusal that repeating cannot help (a missing scope) is looked at again once a day.
      const dueAtMs =
        verdict.kind === 'retry' && error.remedy.kind === 'retry' ? verdict.atMs : nowMs + 86_400_000;
      return { dueAtMs, attempts: claim.attempts + 1 };
    }
  }
}

type SendPlan = Extract<PlannedEvent, { action: 'send' }>;

async function sendEvents(
  context: DeliveryContext,
  client: IntercomClient,
  claim: Claim,
  contactId: string,
  events: readonly SendPlan[],
): Promise<{ left: SendPlan[]; interruption: Interruption | null }> {
  for (const [index, event] of events.entries()) {
    const interruption = await sendEvent(context, client, claim, contactId, event);
    if (interruption) return { left: events.slice(index), interruption };
  }
  return { left: [], interruption: null };
}

async function sendEvent(
  context: DeliveryContext,
  client: IntercomClient,
  claim: Claim,
  contactId: string,
  event: SendPlan,
): Promise<Interruption | null> {
  const { database } = context;
  const { workspaceId, subscriberId } = claim;
  const attempt = {
    subscriberId,
    eventId: event.eventId,
    request: { event_name: event.eventName, created_at: event.createdAtS, metadata: event.metadata },
  };
  try {
    await client.sendEvent({
      eventName: event.eventName,
      createdAtS: event.createdAtS,
      contactId,
      metadata: event.metadata,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const log = { ...attempt, status: error.upstreamStatus, code: error.code, message: error.message };
    const settle = (outcome: Parameters<typeof settleEvent>[2]['outcome'], counts: boolean): Promise<void> =>
      settleEvent(database, workspaceId, { projectId: event.projectId, attempt: log, outcome, counts });

    switch (error.remedy.kind) {
      case 'follow_contact':
        await settle({ state: 'pending', reason: error.code, nextTryAtMs: null }, false);
        return { kind: 'follow', contactId: error.remedy.contactId };
      case 'wait_for_contact':
        await settle({ state: 'pending', reason: 'waiting_for_contact', nextTryAtMs: null }, false);
        return { kind: 'contact_gone' };
      case 'wait_until':
      case 'reauthorise': {
        const atMs = error.remedy.kind === 'wait_until' ? error.remedy.atMs : null;
        await settle({ state: 'pending', reason: error.code, nextTryAtMs: atMs }, false);
        const way = await giveWay(context, claim, error);
        return { kind: 'later', atMs: way.dueAtMs ?? context.now(), counts: false };
      }
      default: {
        const tries = await readTries(database, workspaceId, event.projectId, event.eventId);
        const verdict = afterFailure({
          attempts: tries.attempts + 1,
          firstTriedAtMs: tries.firstTriedAtMs ?? context.now(),
          nowMs: context.now(),
          remedy: error.remedy,
          random: context.random(),
        });
        if (verdict.kind === 'fail') {
          context.count('failed', error.code);
          await settle({ state: 'failed', reason: error.message }, true);
          return null;
        }
        context.count('retried', error.code);
        await settle({ state: 'pending', reason: error.code, nextTryAtMs: verdict.atMs }, true);
        return { kind: 'later', atMs: verdict.atMs, counts: true };
      }
    }
  }
  context.count('delivered', 'ok');
  await settleEvent(database, workspaceId, {
    projectId: event.projectId,
    attempt: { ...attempt, status: 202, code: 'ok', message: null },
    outcome: { state: 'delivered', contactId },
    counts: true,
  });
  return null;
}

async function writeAttributes(
  context: DeliveryContext,
  client: IntercomClient,
  claim: Claim,
  contactId: string,
  wanted: Readonly<Record<string, unknown>>,
  written: Readonly<Record<string, unknown>> | null,
): Promise<Interruption | null> {
  let changed = changedAttributes(wanted, written);
  let provisioned = false;
  for (;;) {
    if (Object.keys(changed).length === 0) return null;
    const request = { custom_attributes: changed };
    try {
      await client.updateContact(contactId, request);
      await recordAttempt(context.database, claim.workspaceId, {
        subscriberId: claim.subscriberId,
        eventId: null,
        request,
        status: 200,
        code: 'ok',
        message: null,
      });
      return null;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      await recordAttempt(context.database, claim.workspaceId, {
        subscriberId: claim.subscriberId,
        eventId: null,
        request,
        status: error.upstreamStatus,
        code: error.code,
        message: error.message,
      });
      if (error.remedy.kind === 'follow_contact')
        return { kind: 'follow', contactId: error.remedy.contactId };
      if (error.remedy.kind === 'wait_for_contact') return { kind: 'contact_gone' };
      // Which code names a missing attribute is UNVERIFIED: after any refusal of the content, look once.
      if (error.code === 'intercom_rejected' && !provisioned) {
        provisioned = true;
        const usable = await provisionOrNone(context, client, claim, error);
        if (!(usable instanceof Set)) return usable;
        changed = Object.fromEntries(Object.entries(changed).filter(([name]) => usable.has(name)));
        continue;
      }
      const way = await giveWay(context, claim, error);
      return {
        kind: 'later',
        atMs: way.dueAtMs ?? context.now(),
        counts: error.remedy.kind !== 'wait_until',
      };
    }
  }
}

/** The names that the workspace has after provisioning, or how the round must end. */
async function provisionOrNone(
  context: DeliveryContext,
  client: IntercomClient,
  claim: Claim,
  refusal: AppError,
): Promise<Set<string> | Interruption> {
  try {
    const result = await provisionAttributes(client);
    const failed = new Set(result.failed.map((attribute) => attribute.name));
    await markAttributesReady(context.database, claim.workspaceId, failed.size === 0);
    context.logger.info(
      {
        workspaceId: claim.workspaceId,
        created: result.created,
        failed: result.failed,
        refusal: refusal.message,
      },
      'attributes provisioned again',
    );
    return new Set(result.available.filter((name) => !failed.has(name)));
  } catch (error) {
    const way = await giveWay(context, claim, error);
    return { kind: 'later', atMs: way.dueAtMs ?? context.now(), counts: true };
  }
}
