import type { Reviewed } from './form-state.ts';

/**
 * Why an action is not done; the card has a message for each kind and code.
 *
 * - `refused`: by the workspace's rules, or because it is not possible.
 * - `invalid`: something in the form is wrong.
 * - `failed`: RevenueCat refuses the key, does not respond, or does not know the customer.
 * - `outdated`: something has changed, or time has passed, since the review.
 */
export class ActionError extends Error {
  override readonly name = 'ActionError';
  readonly kind: 'refused' | 'invalid' | 'failed' | 'outdated';
  readonly code: string;
  /** Values for the message, such as a limit. */
  readonly values: Readonly<Record<string, string | number>>;
  /** For an outdated review: the same review with current data. */
  readonly again: Reviewed | undefined;

  constructor(
    kind: ActionError['kind'],
    code: string,
    { values = {}, again }: Partial<Pick<ActionError, 'values' | 'again'>> = {},
  ) {
    super(`${kind}: ${code}`);
    this.kind = kind;
    this.code = code;
    this.values = values;
    this.again = again;
  }
}

export function refused(code: string, values?: ActionError['values']): ActionError {
  return new ActionError('refused', code, values && { values });
}

export function invalid(code: string): ActionError {
  return new ActionError('invalid', code);
}

export function failed(code: string): ActionError {
  return new ActionError('failed', code);
}

export function outdated(code: 'changed' | 'stale', again?: Reviewed): ActionError {
  return new ActionError('outdated', code, { again });
}

/** @throws ActionError unless it is `null` */
export function throwRefusal(refusal: ActionError | null): void {
  if (refusal) throw refusal;
}

/** Resolves with the result of `work`, or with the `ActionError` that it throws. */
export async function orActionError<T>(work: Promise<T>): Promise<T | ActionError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ActionError) return error;
    throw error;
  }
}
