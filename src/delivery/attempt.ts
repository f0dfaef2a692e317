import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { AppError, type ErrorCode, type Remedy } from '../errors.ts';
import type { IntercomClient } from '../intercom/client.ts';
import { DAY_MS } from '../time.ts';
import { markDisconnected, type Workspace } from '../workspaces/store.ts';
import { explainPending } from './outbox-store.ts';
import { noteIfRefused } from './refused.ts';
import { afterFailure } from './retry-policy.ts';
import { type Claim, holdWorkspace } from './store.ts';
import type { OutboxWriter } from './writer.ts';

export interface DeliveryMetrics {
  /** The outcome of an attempt; `code` is `ok` or a failure's code. */
  attempt(outcome: 'delivered' | 'failed' | 'retried', code: string): void;
  /** An event is on its contact, so long after its webhook (ms). */
  delivered(afterMs: number): void;
}

export interface DeliveryContext {
  readonly database: Database;
  readonly writer: OutboxWriter;
  readonly logger: Logger;
  now(): number;
  random(): number;
  readonly metrics: DeliveryMetrics;
  /** Asks RevenueCat for the subscriber's state, in the background. */
  requestRefresh(workspaceId: string, subscriberId: string): Promise<void>;
  /** Intercom refuses the workspace's token, a permission or its plan, or no longer refuses it. */
  onHealthChanged(workspaceId: string): Promise<void>;
  /** Stops further calls of this process for a workspace (epoch ms). */
  hold(workspaceId: string, untilMs: number): void;
  /** Types that the workspace's attributes turned out to have, by name; those that it lacks are missing. */
  readonly attributeTypes: {
    get(workspaceId: string): ReadonlyMap<string, string> | undefined;
    set(workspaceId: string, types: ReadonlyMap<string, string>): void;
  };
}

/** One claimed subscriber, with what every step of its delivery needs. */
export interface Round {
  readonly context: DeliveryContext;
  readonly workspace: Workspace;
  readonly client: IntercomClient;
  readonly claim: Claim;
  /** Whether the lease is still this worker's. Asked before each call that changes something. */
  isHeld(): boolean;
}

/** How a round ended that must stop before its end. */
export type Interruption =
  /** Somebody else has the subscriber now. */
  | { readonly kind: 'lost' }
  | { readonly kind: 'contact_gone' }
  | { readonly kind: 'follow'; readonly contactId: string }
  | { readonly kind: 'later'; readonly atMs: number; readonly counts: boolean };

/** They concern all of the workspace, and an admin can put them right while the events wait. */
const CURABLE: ReadonlySet<ErrorCode> = new Set(['intercom_scope_missing', 'intercom_plan_restricted']);

export function remedyFor(error: AppError): Remedy {
  return CURABLE.has(error.code) ? { kind: 'retry' } : error.remedy;
}

/** What a failure that concerns more than a single event means for the whole subscriber. */
export async function giveWay(round: Round, error: unknown): Promise<Interruption & { kind: 'later' }> {
  if (!(error instanceof AppError)) throw error;
  const { context, claim, workspace } = round;
  const { workspaceId } = claim;
  const nowMs = context.now();
  context.metrics.attempt('retried', error.code);
  const remedy = remedyFor(error);
  switch (remedy.kind) {
    case 'wait_until':
      await holdWorkspace(context.database, workspaceId, remedy.atMs);
      context.hold(workspaceId, remedy.atMs);
      return { kind: 'later', atMs: nowMs, counts: false };
    case 'reauthorise':
      await explainPending(context.database, workspaceId, claim.subscriberId, error.code);
      if (await markDisconnected(context.database, workspaceId, error.code, workspace.accessToken ?? '')) {
        context.logger.error(
          { workspaceId, code: error.code },
          'Intercom refuses the token: deliveries wait',
        );
        await context.onHealthChanged(workspaceId);
      }
      return { kind: 'later', atMs: nowMs, counts: false };
    default: {
      const verdict = afterFailure({
        attempts: claim.attempts + 1,
        firstTriedAtMs: claim.failingSinceMs ?? nowMs,
        nowMs,
        remedy,
        random: context.random(),
      });
      await noteIfRefused(round, 'contacts', error);
      await explainPending(context.database, workspaceId, claim.subscriberId, error.code);
      // What repeating cannot help is looked at again once a day.
      const atMs = verdict.kind === 'retry' ? verdict.atMs : nowMs + DAY_MS;
      return { kind: 'later', atMs, counts: true };
    }
  }
}
