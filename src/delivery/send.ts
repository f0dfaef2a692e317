import { AppError, answerOrError } from '../errors.ts';
import { type AttributeType, fitAttribute, withoutNull } from '../intercom/data-attributes.ts';
import type { TimelineEntry } from '../subscribers/stored-events.ts';
import { CONTACT_ATTRIBUTES, eventMetadata } from '../subscription/contact-values.ts';
import { provisionWith } from '../workspaces/install.ts';
import type { DeliveryRun } from './context.ts';
import type { Attempt, SendResult } from './event-deliveries.ts';
import { backOff, type Interruption, recordAccepted, recordIfRefused, retryAt } from './failures.ts';
import { changedAttributes, type PlannedSend } from './plan.ts';

/** What is left to send, and why. */
export interface SentEvents {
  readonly left: readonly PlannedSend[];
  readonly interruption: Interruption | null;
}

/**
 * Sends events in order. The result of an event is stored while the next event is sent, because storing takes as long
 * as sending. After a crash, at most these events are sent again, under the same name and second.
 */
export async function sendEvents(
  run: DeliveryRun,
  contactId: string,
  events: readonly PlannedSend[],
): Promise<SentEvents> {
  const { context, claim } = run;
  const storing: Promise<void>[] = [];
  try {
    for (const [index, event] of events.entries()) {
      run.requireLease();
      const { result, interruption } = await sendEvent(run, contactId, event);
      const stored = context.writer.recordResult(claim.workspaceId, result);
      // `Promise.all` below handles a rejection.
      stored.catch(() => {});
      storing.push(stored);
      if (interruption) return { left: events.slice(index), interruption };
    }
    return { left: [], interruption: null };
  } finally {
    await Promise.all(storing);
  }
}

async function sendEvent(
  run: DeliveryRun,
  contactId: string,
  { entry, sentAs }: PlannedSend,
): Promise<{ result: SendResult; interruption: Interruption | null }> {
  const { context, client, claim } = run;
  const metadata = eventMetadata(entry);
  const request = { event_name: sentAs.name, created_at: sentAs.atS, id: contactId, metadata };
  const { id: eventId, projectId } = entry;
  const sent = { projectId, subscriberId: claim.subscriberId, eventId, request };
  const answer = await answerOrError(client.sendEvent(request));
  if (answer instanceof AppError) {
    const { interruption, ...outcome } = await applyFailure(run, entry, answer);
    return { result: { ...sent, ...responseOf(answer), ...outcome }, interruption };
  }
  await recordAccepted(run, 'events');
  context.metrics.attempt('delivered', 'ok');
  // First attempts only: a replay says nothing about how long webhooks take.
  if (entry.delivery.sentAs === null) context.metrics.delivered(context.now() - entry.receivedAtMs);
  const delivered = { state: 'delivered', reason: null, contactId, nextTryAtMs: null, tries: 1 } as const;
  return { result: { ...sent, ...accepted(202), ...delivered }, interruption: null };
}

type Outcome = Omit<SendResult, keyof Attempt | 'projectId'>;

/** Decides what happens to the event, and applies a failure that concerns more than this event. */
async function applyFailure(
  run: DeliveryRun,
  { delivery: { attempts, firstTriedAtMs } }: TimelineEntry,
  error: AppError,
): Promise<Outcome & { interruption: Interruption | null }> {
  const { context } = run;
  const { code: reason, remedy } = error;
  const pending = { state: 'pending', reason, contactId: null, nextTryAtMs: null, tries: 0 } as const;
  const nowMs = context.now();
  await recordIfRefused(run, 'events', error);
  switch (remedy.kind) {
    case 'follow_contact':
      return { ...pending, interruption: remedy };
    case 'wait_for_contact':
      return { ...pending, reason: 'waiting_for_contact', interruption: remedy };
    case 'wait_until':
      return { ...pending, nextTryAtMs: remedy.atMs, interruption: await backOff(run, error) };
    case 'reauthorize':
      return { ...pending, interruption: await backOff(run, error) };
  }
  const atMs = retryAt(error, {
    failures: attempts + 1,
    firstTriedAtMs: firstTriedAtMs ?? nowMs,
    nowMs,
    random: context.random(),
  });
  context.metrics.attempt(atMs === null ? 'failed' : 'retried', reason);
  if (atMs === null)
    return { ...pending, state: 'failed', reason: error.message, tries: 1, interruption: null };
  const interruption = { kind: 'later', atMs, tries: 1, reason } as const;
  return { ...pending, nextTryAtMs: atMs, tries: 1, interruption };
}

type LoggedResponse = Pick<Attempt, 'status' | 'code' | 'message' | 'answer'>;

function responseOf({ upstreamStatus, code, message, upstreamAnswer }: AppError): LoggedResponse {
  return { status: upstreamStatus, code, message, answer: upstreamAnswer };
}

function accepted(status: number): LoggedResponse {
  return { status, code: 'ok', message: null, answer: null };
}

type Values = Readonly<Record<string, unknown>>;

/** `values`: what is on the contact now; `null`: unknown. An interruption: why the run stops. */
export type WriteResult = { readonly kind: 'written'; readonly values: Values | null } | Interruption;

/**
 * Writes all attributes in one call when one has changed, since others may have overwritten the rest. When Intercom
 * rejects their content, an attribute may have been deleted or have another type: missing attributes are created, and
 * values that fit are written.
 *
 * @param attributes.written what is on the contact already; `null`: unknown
 */
export async function writeAttributes(
  run: DeliveryRun,
  contactId: string,
  { wanted, written }: { readonly wanted: Values; readonly written: Values | null },
): Promise<WriteResult> {
  const { context, claim, workspace } = run;
  const cached = context.attributeTypes.get(claim.workspaceId);
  // An admin may have created the missing attributes since.
  let types =
    cached && cached.size < CONTACT_ATTRIBUTES.length && workspace.attributesReady ? undefined : cached;
  for (const format of ['as is', 'fitted', 'without null'] as const) {
    const fitting = fitted(wanted, types);
    const values = format === 'without null' && types ? withoutNull(fitting, types) : fitting;
    // A value that was converted to the attribute's type may equal what is already on the contact.
    if (Object.keys(changedAttributes(values, written)).length === 0)
      return { kind: 'written', values: written };
    run.requireLease();
    const refusal = await put(run, contactId, values);
    if (refusal === null) return { kind: 'written', values: { ...written, ...values } };
    const { code, remedy } = refusal;
    if (remedy.kind === 'follow_contact' || remedy.kind === 'wait_for_contact') return remedy;
    // Which code means a missing attribute is UNVERIFIED, so any rejection of the content triggers provisioning.
    const isAboutContent = code === 'intercom_rejected' || code === 'intercom_attribute_missing';
    if (!isAboutContent || format === 'without null') return backOff(run, refusal);
    if (format === 'as is') {
      const provisioned = await answerOrError(provision(run, refusal));
      if (provisioned instanceof AppError) return backOff(run, provisioned);
      types = provisioned;
    }
  }
  return { kind: 'written', values: written };
}

async function put(run: DeliveryRun, contactId: string, values: Values): Promise<AppError | null> {
  const { context, claim, client } = run;
  const request = { custom_attributes: values };
  const log = { subscriberId: claim.subscriberId, eventId: null, request };
  const answer = await answerOrError(client.updateContact(contactId, request));
  if (answer instanceof AppError) {
    await context.writer.recordAttempt(claim.workspaceId, { ...log, ...responseOf(answer) });
    return answer;
  }
  await recordAccepted(run, 'contacts');
  // The answer repeats the whole contact, which is not stored here.
  await context.writer.recordAttempt(claim.workspaceId, { ...log, ...accepted(200) });
  return null;
}

function fitted(values: Values, types: ReadonlyMap<string, AttributeType> | undefined): Values {
  if (!types) return values;
  const entries = Object.entries(values).flatMap(([name, value]): [string, unknown][] => {
    const type = types.get(name);
    const fit = type && fitAttribute(value, type);
    return fit === undefined ? [] : [[name, fit]];
  });
  return Object.fromEntries(entries);
}

/** Creates what is missing. @returns the types of the workspace's attributes */
async function provision({ context, client, claim }: DeliveryRun, refusal: AppError) {
  const { workspaceId } = claim;
  const { available, created, failed } = await provisionWith(client, context.database, workspaceId);
  context.logger.info(
    { workspaceId, created, failed, refusal: refusal.code },
    'attributes provisioned again',
  );
  context.attributeTypes.set(workspaceId, available);
  return available;
}
