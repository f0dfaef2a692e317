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

/** What a note reports; an action gets each of these notes at most once. */
export type NoteStep = 'requested' | 'declined' | 'confirmed' | 'failed' | 'revoked';

export interface Transition {
  readonly from: ActionState;
  readonly to: ActionState;
  readonly audit?: AuditStep;
  readonly note?: NoteStep;
}

/** The state before and after each event, with its entry in the audit log and its note. */
export const TRANSITIONS = {
  approve: { from: 'awaiting_approval', to: 'requested', audit: 'approve' },
  decline: { from: 'awaiting_approval', to: 'declined', audit: 'decline', note: 'declined' },
  withdraw: { from: 'awaiting_approval', to: 'withdrawn', audit: 'withdraw' },
  confirm: { from: 'requested', to: 'confirmed', audit: 'do', note: 'confirmed' },
  fail: { from: 'requested', to: 'failed', audit: 'do' },
  /** The failure came long after the click, so the card that the agent saw did not show it. */
  fail_later: { from: 'requested', to: 'failed', audit: 'do', note: 'failed' },
  revoke: { from: 'confirmed', to: 'revoking' },
  confirm_revoke: { from: 'revoking', to: 'revoked', audit: 'revoke', note: 'revoked' },
  fail_revoke: { from: 'revoking', to: 'confirmed', audit: 'revoke' },
  fail_revoke_later: { from: 'revoking', to: 'confirmed', audit: 'revoke', note: 'failed' },
  /** RevenueCat ends all grants of an entitlement together, so removing one also ends the others. */
  revoke_with_other: { from: 'confirmed', to: 'revoked' },
  /** When a grant to many is undone, the customer's earlier grant is granted again. */
  restore_with_other: { from: 'revoked', to: 'confirmed' },
} as const satisfies Record<string, Transition>;

export type ActionEvent = keyof typeof TRANSITIONS;

/** RevenueCat's result is still unknown. */
export const UNCONFIRMED_STATES: readonly ActionState[] = ['requested', 'revoking'];

/** The author of grants that were not made here. */
export const REVENUECAT: Teammate = { id: 'revenuecat', name: 'RevenueCat', email: null };

/** What can be done to what a customer bought. `restore` uses the settings of `transfer`. */
export const STORE_ACTION_KINDS = ['cancel', 'refund', 'extend', 'transfer', 'restore', 'manage'] as const;
export type StoreActionKind = (typeof STORE_ACTION_KINDS)[number];
export type ActionKind = 'grant' | StoreActionKind;

/** RevenueCat's clock may be behind ours, so an action's event may have a time up to this long before the action. */
export const CLOCK_TOLERANCE_MS = 10 * MINUTE_MS;

/** Something that a teammate wants done for a customer through RevenueCat. Times are UTC epoch ms. */
interface NewActionBase {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  /** RevenueCat's id of the entitlement, subscription or purchase; for a transfer, of the receiving customer. */
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
  /** RevenueCat responded that the action was done. */
  readonly isAnswered: boolean;
}

/** Whether a duration counts from now, or from the end of the customer's current access, paid or granted. */
export const GRANT_STARTS = ['after', 'now'] as const;
export type GrantStart = (typeof GRANT_STARTS)[number];

/** What is granted. An end far in the future means no end (`isForever`). */
export const grantTerms = z.object({
  kind: z.literal('grant'),
  lookupKey: z.string(),
  /** The entitlement's name when the grant was made. */
  entitlementName: z.string(),
  duration: z.enum([...DURATIONS, 'custom']),
  start: z.enum(GRANT_STARTS),
  requestedEndMs: z.number(),
  /** End of RevenueCat's earlier grant of this entitlement; `null`: there was none. */
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
  /** The store's transaction id, as in events. */
  readonly purchaseId?: string;
  /** Which kind of RevenueCat object `target` identifies. */
  readonly targetType: 'subscription' | 'purchase' | 'customer';
  /** What is refunded, in the currency paid; `null`: nothing, or not known. */
  readonly amount: Money | null;
  /** Google Play only: the charge that is refunded. */
  readonly transactionId?: string;
  readonly days?: number;
  /** Apple's reason for an extension. */
  readonly reasonCode?: number;
  /** Transfers only: RevenueCat's ids of the purchases that move, and how many move. */
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

/** An action before it is stored. Each key makes one action. */
export type NewAction = NewActionBase &
  (GrantTerms | StoreActionTerms) & {
    readonly idempotencyKey: string;
    readonly state: 'requested' | 'awaiting_approval';
  };

/** The result of a button. If something prevents the action, an `ActionError` is thrown. */
export interface ActionResult {
  readonly action: Action;
  /** An earlier request has done it, or is doing it. */
  readonly isRepeated?: boolean;
  /** The single-use link of `manage`: it is not stored. */
  readonly url?: string;
}

/** When the action was done: one that needed approval was done long after it was requested. */
export function doneAtMs({ calledAtMs, createdAtMs }: Action): number {
  return calledAtMs ?? createdAtMs;
}

export function grantEndMs(grant: Pick<Grant, 'actualEndMs' | 'requestedEndMs'>): number {
  return grant.actualEndMs ?? grant.requestedEndMs;
}

/** Whether the grant gives access now and its removal has not begun. */
export function isActiveGrant(action: Action, nowMs: number): action is Grant {
  return action.kind === 'grant' && action.state === 'confirmed' && grantEndMs(action) > nowMs;
}

export function nameOf(person: Teammate): string {
  return person.name || person.id;
}
