import { z } from 'zod';
import type { Teammate } from '../database/entities.ts';
import type { Environment, Money } from '../subscription/types.ts';
import { MINUTE_MS } from '../time.ts';
import { DURATIONS } from './durations.ts';

/**
 * The states of an action. A test compares them with the check constraint of the table `actions`.
 *
 * - `awaiting_approval`: stored; a second teammate decides.
 * - `requested`: RevenueCat is called once; its result is not known yet.
 * - `confirmed`: read back from RevenueCat. `failed`: read back as not done, or refused.
 * - `revoking` and `revoked`: like `requested` and `confirmed`, for the removal of a grant.
 */
export const ACTION_STATES = [
  'awaiting_approval',
  'declined',
  'withdrawn',
  'requested',
  'failed',
  'confirmed',
  'revoking',
  'revoked',
] as const;
export type ActionState = (typeof ACTION_STATES)[number];

/** What the audit log records of an action. */
export type AuditStep = 'do' | 'approve' | 'decline' | 'withdraw' | 'revoke';

/** What a note reports; each is left once. */
export type NoteStep = 'requested' | 'declined' | 'confirmed' | 'failed' | 'revoked';

export interface Transition {
  readonly from: ActionState;
  readonly to: ActionState;
  readonly audit?: AuditStep;
  readonly note?: NoteStep;
}

/** The state that each event leaves and the one it leads to, with its entry in the audit log and its note. */
export const TRANSITIONS = {
  approve: { from: 'awaiting_approval', to: 'requested', audit: 'approve' },
  decline: { from: 'awaiting_approval', to: 'declined', audit: 'decline', note: 'declined' },
  withdraw: { from: 'awaiting_approval', to: 'withdrawn', audit: 'withdraw' },
  confirm: { from: 'requested', to: 'confirmed', audit: 'do', note: 'confirmed' },
  fail: { from: 'requested', to: 'failed', audit: 'do' },
  /** Long after the press: the card that the agent saw did not say so. */
  fail_later: { from: 'requested', to: 'failed', audit: 'do', note: 'failed' },
  revoke: { from: 'confirmed', to: 'revoking' },
  confirm_revoke: { from: 'revoking', to: 'revoked', audit: 'revoke', note: 'revoked' },
  fail_revoke: { from: 'revoking', to: 'confirmed', audit: 'revoke' },
  fail_revoke_later: { from: 'revoking', to: 'confirmed', audit: 'revoke', note: 'failed' },
  /** RevenueCat ends all grants of an entitlement together: this follows the removal of another. */
  revoke_with_other: { from: 'confirmed', to: 'revoked' },
  /** The undo of a grant to many grants again what was there before. */
  restore_with_other: { from: 'revoked', to: 'confirmed' },
} as const satisfies Record<string, Transition>;

export type ActionEvent = keyof typeof TRANSITIONS;

/** RevenueCat's result is still unknown. */
export const UNCONFIRMED_STATES: readonly ActionState[] = ['requested', 'revoking'];

/** Whose grants are those that were not made here. */
export const REVENUECAT: Teammate = { id: 'revenuecat', name: 'RevenueCat', email: null };

/** What can be done to what a customer bought. `restore` has the settings of `transfer`. */
export const STORE_ACTION_KINDS = ['cancel', 'refund', 'extend', 'transfer', 'restore', 'manage'] as const;
export type StoreActionKind = (typeof STORE_ACTION_KINDS)[number];
export type ActionKind = 'grant' | StoreActionKind;

/** RevenueCat's clock may be behind ours: events of what was done here are not older than this before it. */
export const CLOCK_TOLERANCE_MS = 10 * MINUTE_MS;

/** Something that a teammate wants done for a customer through RevenueCat. Times are UTC epoch ms. */
interface NewActionBase {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  /** RevenueCat's id: of the entitlement, subscription or purchase; of a transfer, the receiving customer's. */
  readonly target: string;
  readonly reason: string;
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly contactId: string | null;
}

interface ActionBase extends NewActionBase {
  readonly actionId: string;
  /** The second teammate, who approved or declined. */
  readonly decidedBy: Teammate | null;
  readonly state: ActionState;
  readonly error: string | null;
  readonly createdAtMs: number;
  /** When RevenueCat was called; `null`: certainly not called yet. */
  readonly calledAtMs: number | null;
  /** RevenueCat has answered that it did it. */
  readonly isAnswered: boolean;
}

/** Whether a duration counts from now, or from the end of what the customer has, paid or granted. */
export const GRANT_STARTS = ['after', 'now'] as const;
export type GrantStart = (typeof GRANT_STARTS)[number];

/** What is granted. An end far in the future means no end (`isForever`). */
export const grantTerms = z.object({
  kind: z.literal('grant'),
  lookupKey: z.string(),
  /** As it was called when the grant was made. */
  entitlementName: z.string(),
  duration: z.enum([...DURATIONS, 'custom']),
  start: z.enum(GRANT_STARTS),
  requestedEndMs: z.number(),
  /** End of what RevenueCat had granted of this entitlement before; `null`: nothing. */
  previousEndMs: z.number().nullable(),
});
type GrantTerms = Readonly<z.infer<typeof grantTerms>>;

export interface Grant extends ActionBase, GrantTerms {
  /** Read back from RevenueCat. */
  readonly actualEndMs: number | null;
  /** RevenueCat accepted the request and kept what was there before. */
  readonly isUnchanged: boolean;
  readonly revokedBy: Teammate | null;
  readonly revokeReason: string | null;
  readonly revokeCalledAtMs: number | null;
  readonly revokedAtMs: number | null;
}

/** A purchase before and after an action. */
export interface PurchaseState {
  readonly endsAtMs: number | null;
  readonly givesAccess: boolean;
  readonly willRenew: boolean;
}

export interface StoreActionDetails {
  /** The name of the product, or of the customer that receives purchases. */
  readonly product: string;
  readonly productId?: string;
  readonly store: string | null;
  readonly environment?: Environment;
  /** The store's transaction as events name it. */
  readonly purchaseId?: string;
  /** Which of RevenueCat's objects `target` names. */
  readonly targetType: 'subscription' | 'purchase' | 'customer';
  /** What is refunded, in the currency paid; `null`: nothing, or not known. */
  readonly amount: Money | null;
  /** Of Google Play: the charge that is refunded. */
  readonly transactionId?: string;
  readonly days?: number;
  /** Apple's reason for an extension. */
  readonly reasonCode?: number;
  /** Of a transfer: what moves, by RevenueCat's ids, and how many there are of them. */
  readonly moves?: readonly string[];
  readonly moveCount?: number;
  readonly before: PurchaseState | null;
  readonly after: PurchaseState | null;
}

interface StoreActionTerms {
  readonly kind: StoreActionKind;
  readonly details: StoreActionDetails;
}

export interface StoreAction extends ActionBase, StoreActionTerms {}

export type Action = Grant | StoreAction;

/** An action before it is stored; the same key makes the same action. */
export type NewAction = NewActionBase &
  (GrantTerms | StoreActionTerms) & {
    readonly idempotencyKey: string;
    readonly state: 'requested' | 'awaiting_approval';
  };

/** What a button has done. Whatever prevents it is thrown as an `ActionError`. */
export interface ActionResult {
  readonly action: Action;
  /** An earlier request has done it, or is doing it. */
  readonly isRepeated?: boolean;
  /** The single-use link of `manage`: it is not stored. */
  readonly url?: string;
}

/** An action that waited for approval was done long after it was requested. */
export function doneAtMs({ calledAtMs, createdAtMs }: Action): number {
  return calledAtMs ?? createdAtMs;
}

export function grantEndMs(grant: Pick<Grant, 'actualEndMs' | 'requestedEndMs'>): number {
  return grant.actualEndMs ?? grant.requestedEndMs;
}

/** Whether it gives access now, and nothing has begun to remove it. */
export function isActiveGrant(action: Action, nowMs: number): action is Grant {
  return action.kind === 'grant' && action.state === 'confirmed' && grantEndMs(action) > nowMs;
}

export function nameOf(person: Teammate): string {
  return person.name || person.id;
}
