/**
 * The states of an action that a teammate takes for a customer, and the event that leads from one to the next.
 * A test compares them with the check constraint of the table `actions`.
 *
 * - `awaiting_approval`: stored; a second teammate decides.
 * - `requested`: RevenueCat is called once; its result is not known yet.
 * - `confirmed`: read back from RevenueCat. `failed`: read back as not done, or refused.
 * - `revoking` and `revoked`: like `requested` and `confirmed`, for the removal of a grant.
 */
export const TRANSITIONS = {
  awaiting_approval: { approve: 'requested', decline: 'declined', withdraw: 'withdrawn' },
  declined: {},
  withdrawn: {},
  requested: { confirm: 'confirmed', fail: 'failed' },
  failed: {},
  /** RevenueCat ends all grants of an entitlement together: `revoke_with_other` follows the removal of another. */
  confirmed: { revoke: 'revoking', revoke_with_other: 'revoked' },
  revoking: { confirm_revoke: 'revoked', fail_revoke: 'confirmed' },
  revoked: {},
} as const;

export type ActionState = keyof typeof TRANSITIONS;

type EventOf<State> = State extends ActionState ? keyof (typeof TRANSITIONS)[State] : never;
export type ActionEvent = EventOf<ActionState>;

/** RevenueCat's result is still unknown. */
export const UNCONFIRMED_STATES: readonly ActionState[] = ['requested', 'revoking'];

/** Where an event may happen, and where it leads. */
export function transitionOf(event: ActionEvent): { from: readonly ActionState[]; to: ActionState } {
  const targets = Object.entries(TRANSITIONS).flatMap(([state, events]) => {
    const to = (events as Partial<Record<ActionEvent, ActionState>>)[event];
    return to === undefined ? [] : [{ from: state as ActionState, to }];
  });
  const [first] = targets;
  if (!first || targets.some(({ to }) => to !== first.to)) throw new Error(`${event} has no single target`);
  return { from: targets.map(({ from }) => from), to: first.to };
}
