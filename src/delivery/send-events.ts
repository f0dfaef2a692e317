import { AppError } from '../errors.ts';
import { backOff, type Delivery, type Interruption, noteAccepted, noteIfRefused } from './back-off.ts';
import { decide } from './decide.ts';
import type { Outcome } from './outbox.ts';
import type { OutboxEntry, PlannedEvent } from './plan.ts';

export type SendPlan = Extract<PlannedEvent, { action: 'send' }>;

interface Sent {
  readonly interruption: Interruption | null;
  readonly outcome: Outcome;
}

/**
 * Sends events in order. Outcomes are stored while the next event is sent: waiting for each would take as long as
 * sending it. A crash in between sends at most these again, under the same name and second.
 *
 * @returns what is left to send, and why
 */
export async function sendEvents(
  delivery: Delivery,
  work: {
    contactId: string;
    events: readonly SendPlan[];
    outbox: ReadonlyMap<string, OutboxEntry>;
  },
): Promise<{ left: readonly SendPlan[]; interruption: Interruption | null }> {
  const { context, claim } = delivery;
  const { contactId, events, outbox } = work;
  const storing: Promise<void>[] = [];
  try {
    for (const [index, event] of events.entries()) {
      if (!delivery.isLeased()) return { left: events.slice(index), interruption: { kind: 'lease_lost' } };
      const { outcome, interruption } = await sendEvent(
        delivery,
        contactId,
        event,
        outbox.get(event.eventId),
      );
      const stored = context.writer.recordOutcome(claim.workspaceId, outcome);
      // A rejection is handled at the end.
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
  delivery: Delivery,
  contactId: string,
  event: SendPlan,
  entry: OutboxEntry | undefined,
): Promise<Sent> {
  const { context, client, claim } = delivery;
  const { eventName, createdAtS, metadata } = event;
  const attempt = {
    subscriberId: claim.subscriberId,
    eventId: event.eventId,
    request: { event_name: eventName, created_at: createdAtS, id: contactId, metadata },
  };
  try {
    await client.sendEvent({ eventName, createdAtS, contactId, metadata });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return failed(delivery, error, {
      entry,
      outcome: {
        projectId: event.projectId,
        attempt: {
          ...attempt,
          status: error.upstreamStatus,
          code: error.code,
          message: error.message,
          answer: error.upstreamAnswer,
        },
        state: 'pending',
        reason: error.code,
        contactId: null,
        nextTryAtMs: null,
        counts: 0,
      },
    });
  }
  await noteAccepted(delivery, 'events');
  context.metrics.attempt('delivered', 'ok');
  // A replay says nothing about how long webhooks take.
  if (entry && entry.mark === null) context.metrics.delivered(context.now() - entry.receivedAtMs);
  return {
    interruption: null,
    outcome: {
      projectId: event.projectId,
      attempt: { ...attempt, status: 202, code: 'ok', message: null, answer: null },
      state: 'delivered',
      reason: null,
      contactId,
      nextTryAtMs: null,
      counts: 1,
    },
  };
}

async function failed(
  delivery: Delivery,
  error: AppError,
  { entry, outcome }: { entry: OutboxEntry | undefined; outcome: Outcome },
): Promise<Sent> {
  const { context } = delivery;
  const nowMs = context.now();
  await noteIfRefused(delivery, 'events', error);
  const decision = decide(error, {
    attempts: (entry?.attempts ?? 0) + 1,
    firstTriedAtMs: entry?.firstTriedAtMs ?? nowMs,
    nowMs,
    random: context.random(),
  });
  switch (decision.kind) {
    case 'follow':
      return { outcome, interruption: decision };
    case 'contact_missing':
      return { outcome: { ...outcome, reason: 'waiting_for_contact' }, interruption: decision };
    case 'pause_workspace':
      return {
        outcome: { ...outcome, nextTryAtMs: decision.untilMs },
        interruption: await backOff(delivery, error),
      };
    case 'disconnect':
      return { outcome, interruption: await backOff(delivery, error) };
    case 'fail':
      context.metrics.attempt('failed', error.code);
      return {
        outcome: { ...outcome, state: 'failed', reason: error.message, counts: 1 },
        interruption: null,
      };
    case 'retry':
      context.metrics.attempt('retried', error.code);
      return {
        outcome: { ...outcome, nextTryAtMs: decision.atMs, counts: 1 },
        interruption: { kind: 'later', atMs: decision.atMs, counts: 1, reason: error.code },
      };
  }
}
