export interface Teammate {
  readonly id: string;
  readonly name: string;
  readonly email: string | null;
}

/**
 * Where a grant stands.
 *
 * - `awaiting_approval`: stored; a second teammate decides: on to `requested` or `declined`, or its maker takes it
 *   back: `withdrawn`.
 * - `requested`: RevenueCat is asked or about to be, once; what came of it is not known yet.
 * - `confirmed`: read back from RevenueCat. `failed`: read back that it is not there, or refused.
 * - `revoking`: as `requested`, for the removal. `revoked`: read back that it is gone.
 */
export type GrantState =
  | 'awaiting_approval'
  | 'declined'
  | 'withdrawn'
  | 'requested'
  | 'confirmed'
  | 'failed'
  | 'revoking'
  | 'revoked';

/** Times are epoch ms, UTC. An end far away stands for none (`isForever`). */
export interface Grant {
  readonly workspaceId: string;
  readonly grantId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  /** RevenueCat's id: `entl…`. */
  readonly entitlementId: string;
  readonly lookupKey: string;
  /** As it was called when the grant was made. */
  readonly entitlementName: string;
  /** What was chosen: one of RevenueCat's ten, or `custom` for an exact end. */
  readonly duration: string;
  readonly askedEndMs: number;
  /** End of what RevenueCat had granted of this entitlement before; `null`: nothing. */
  readonly beforeEndMs: number | null;
  /** Read back from RevenueCat. */
  readonly realEndMs: number | null;
  /** RevenueCat took the request and kept what was there before. */
  readonly kept: boolean;
  readonly reason: string;
  readonly admin: Teammate;
  /** The second teammate, who approved or declined. */
  readonly decidedBy: Teammate | null;
  readonly conversationId: string | null;
  readonly contactId: string | null;
  readonly state: GrantState;
  readonly error: string | null;
  readonly createdAtMs: number;
  /** When RevenueCat was asked; `null`: not yet, for certain. */
  readonly askedAtMs: number | null;
  /** RevenueCat has answered that it did it. */
  readonly answered: boolean;
  readonly revokedBy: Teammate | null;
  readonly revokeReason: string;
  readonly revokeAskedAtMs: number | null;
  readonly revokedAtMs: number | null;
}
