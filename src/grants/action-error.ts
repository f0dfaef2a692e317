import type { Reviewed } from './form-state.ts';

/** Why the workspace's rules or the state of things do not allow an action. */
export type Refusal =
  | {
      readonly code:
        | 'no_key'
        | 'key_rejected'
        | 'no_customer_id'
        | 'switched_off'
        | 'not_allowed'
        | 'lifetime_not_allowed'
        | 'reason_missing'
        | 'same_person'
        | 'unconfirmed'
        | 'no_effect'
        | 'ended'
        | 'not_renewing'
        | 'refunded'
        | 'family';
    }
  | { readonly code: 'too_long'; readonly days: number }
  | { readonly code: 'reason_too_long'; readonly max: number }
  | { readonly code: 'monthly_limit'; readonly limit: number }
  | { readonly code: 'scope_missing'; readonly scopes: string };

/**
 * Thrown when an action is not done; the card has a message for each kind and code.
 *
 * - `refused`: by the workspace's rules, or because it is not possible.
 * - `invalid`: something in the form.
 * - `failed`: RevenueCat refuses the key, does not respond, or does not know the customer.
 * - `outdated`: something has changed, or time has passed, since the review.
 */
export class ActionError extends Error {
  override readonly name = 'ActionError';
  readonly kind: 'refused' | 'invalid' | 'failed' | 'outdated';
  readonly code: string;
  /** What the message names, such as a limit. */
  readonly values: Readonly<Record<string, string | number>>;
  /** As it would be done now, when the review is outdated. */
  readonly again: Reviewed | undefined;

  constructor(
    kind: ActionError['kind'],
    { code, ...values }: { readonly code: string; readonly [value: string]: string | number },
    again?: Reviewed,
  ) {
    super(`${kind}: ${code}`);
    this.kind = kind;
    this.code = code;
    this.values = values;
    this.again = again;
  }
}

export function refused(refusal: Refusal): ActionError {
  return new ActionError('refused', refusal);
}

export function invalid(code: string): ActionError {
  return new ActionError('invalid', { code });
}

export function failed(code: string): ActionError {
  return new ActionError('failed', { code });
}

export function outdated(code: 'changed' | 'stale', again?: Reviewed): ActionError {
  return new ActionError('outdated', { code }, again);
}

/** @throws ActionError unless `refusal` is `null` */
export function throwRefusal(refusal: Refusal | null): void {
  if (refusal) throw refused(refusal);
}

/** Waits for work; an `ActionError` that it throws is the result. */
export async function orActionError<T>(work: Promise<T>): Promise<T | ActionError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ActionError) return error;
    throw error;
  }
}
