import { AppError } from '../errors.ts';
import { giveWay, type Interruption, type Round, remedyFor } from './attempt.ts';
import type { Settlement } from './outbox-store.ts';
import type { OutboxEntry, PlannedEvent } from './plan.ts';
import { noteAccepted, noteIfRefused } from './refused.ts';
import { afterFailure } from './retry-policy.ts';

export type SendPlan = Extract<PlannedEvent, { action: 'send' }>;

interface Sent {
  readonly interruption: Interruption | null;
  /** Resolves when the outcome is stored. */
  readonly stored: Promise<void>;
}

/**
 * Sends events in order. Their outcomes are stored while the next ones are on their way: waiting for each would take
 * as long as sending it. A crash in between sends at most these again, with the same name and second.
 *
 * @returns what is left to send, and why
 */
export async function sendEvents(
  round: Round,
  contactId: string,
  events: readonly SendPlan[],
  outbox: ReadonlyMap<string, OutboxEntry>,
): Promise<{ left: SendPlan[]; interruption: Interruption | null }> {
  const storing: Promise<void>[] = [];
  try {
    for (const [index, event] of events.entries()) {
      if (!round.isHeld()) return { left: events.slice(index), interruption: { kind: 'lost' } };
      const sent = await sendEvent(round, contactId, event, outbox.get(event.eventId));
      // Its rejection is looked at in the end, not before.
      sent.stored.catch(() => {});
      storing.push(sent.stored);
      if (sent.interruption) return { left: events.slice(index), interruption: sent.interruption };
    }
    return { left: [], interruption: null };
  } finally {
    await Promise.all(storing);
  }
}

async function sendEvent(
  round: Round,
  contactId: string,
  event: SendPlan,
  entry: OutboxEntry | undefined,
): Promise<Sent> {
  const { context, client, claim } = round;
  const { workspaceId, subscriberId } = claim;
  const attempt = {
    subscriberId,
    eventId: event.eventId,
    request: {
      event_name: event.eventName,
      created_at: event.createdAtS,
      id: contactId,
      metadata: event.metadata,
    },
  };
  const settle = (settlement: Omit<Settlement, 'projectId'>): Promise<void> =>
    context.writer.settle(workspaceId, { projectId: event.projectId, ...settlement });

  try {
    await client.sendEvent({
      eventName: event.eventName,
      createdAtS: event.createdAtS,
      contactId,
      metadata: event.metadata,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const log = {
      ...attempt,
      status: error.upstreamStatus,
      code: error.code,
      message: error.message,
      answer: error.upstreamAnswer,
    };
    const keep = (reason: string, nextTryAtMs: number | null, counts: boolean): Promise<void> =>
      settle({ attempt: log, outcome: { state: 'pending', reason, nextTryAtMs }, counts });
    await noteIfRefused(round, 'events', error);
    const remedy = remedyFor(error);
    switch (remedy.kind) {
      case 'follow_contact':
        return {
          interruption: { kind: 'follow', contactId: remedy.contactId },
          stored: keep(error.code, null, false),
        };
      case 'wait_for_contact':
        return { interruption: { kind: 'contact_gone' }, stored: keep('waiting_for_contact', null, false) };
      case 'wait_until':
      case 'reauthorise': {
        await keep(error.code, remedy.kind === 'wait_until' ? remedy.atMs : null, false);
        return { interruption: await giveWay(round, error), stored: Promise.resolve() };
      }
      default: {
        const verdict = afterFailure({
          attempts: (entry?.attempts ?? 0) + 1,
          firstTriedAtMs: entry?.firstTriedAtMs ?? context.now(),
          nowMs: context.now(),
          remedy,
          random: context.random(),
        });
        if (verdict.kind === 'fail') {
          context.metrics.attempt('failed', error.code);
          const outcome = { state: 'failed', reason: error.message } as const;
          return { interruption: null, stored: settle({ attempt: log, outcome, counts: true }) };
        }
        context.metrics.attempt('retried', error.code);
        return {
          interruption: { kind: 'later', atMs: verdict.atMs, counts: true },
          stored: keep(error.code, verdict.atMs, true),
        };
      }
    }
  }
  await noteAccepted(round, 'events');
  context.metrics.attempt('delivered', 'ok');
  // A replay says nothing of how long webhooks take.
  if (entry && entry.mark === null) context.metrics.delivered(context.now() - entry.receivedAtMs);
  return {
    interruption: null,
    stored: settle({
      attempt: { ...attempt, status: 202, code: 'ok', message: null, answer: null },
      outcome: { state: 'delivered', contactId },
      counts: true,
    }),
  };
}
