/**
 * The states of an action that a teammate takes for a customer. A test compares them with the check constraint of the
 * table `actions`.
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

/** Where each event may happen, and where it leads. */
export const TRANSITIONS = {
  approve: { from: 'awaiting_approval', to: 'requested' },
  decline: { from: 'awaiting_approval', to: 'declined' },
  withdraw: { from: 'awaiting_approval', to: 'withdrawn' },
  confirm: { from: 'requested', to: 'confirmed' },
  fail: { from: 'requested', to: 'failed' },
  revoke: { from: 'confirmed', to: 'revoking' },
  confirm_revoke: { from: 'revoking', to: 'revoked' },
  fail_revoke: { from: 'revoking', to: 'confirmed' },
  /** RevenueCat ends all grants of an entitlement together: this follows the removal of another. */
  revoke_with_other: { from: 'confirmed', to: 'revoked' },
} as const satisfies Record<string, { from: ActionState; to: ActionState }>;

export type ActionEvent = keyof typeof TRANSITIONS;

/** RevenueCat's result is still unknown. */
export const UNCONFIRMED_STATES: readonly ActionState[] = ['requested', 'revoking'];
