import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { Action, ActionKind } from './action.ts';
import type { ActionContext } from './context.ts';
import type { Form, Reviewed } from './form-state.ts';
import { GRANT_HANDLER } from './grant.ts';
import type { Changes } from './repository.ts';
import { STORE_ACTION_HANDLER } from './store-actions.ts';

/**
 * What reading RevenueCat shows of an action. `missing`: not done, or not done yet; `ignored`: what to store when
 * RevenueCat said that it did it. `unknown`: the API cannot show it.
 */
export type ReadBackResult =
  | { readonly kind: 'done'; readonly changes: Changes }
  | { readonly kind: 'missing'; readonly ignored?: Changes }
  | { readonly kind: 'unknown' };

/** What differs between grants and store actions. */
export interface ActionHandler<F extends Form, R extends Reviewed, A extends Action> {
  /** Checks the form, and computes exactly what the action would do. Throws ActionError. */
  prepare(context: ActionContext, form: F): Promise<R>;
  /** Checks what was reviewed against the policy and what RevenueCat has now. Throws ActionError. */
  recheck(context: ActionContext, reviewed: R): Promise<R>;
  /** What waits for approval, as its approval would do it now. Its key is the id of the action. */
  reviewRequested(context: ActionContext, action: A): Promise<R>;
  /** Whether a second teammate must approve it. */
  needsSecondPerson(context: ActionContext, reviewed: R): boolean;
  /** The one call to RevenueCat; resolves with the link of `manage`. */
  call(client: RevenueCatClient, projectId: string, action: A): Promise<unknown>;
  /** Reads whether it was done. It never calls for it again. */
  readBack(client: RevenueCatClient, projectId: string, action: A): Promise<ReadBackResult>;
}

export function handlerOf({ kind }: { readonly kind: ActionKind }): ActionHandler<Form, Reviewed, Action> {
  return kind === 'grant' ? GRANT_HANDLER : STORE_ACTION_HANDLER;
}
