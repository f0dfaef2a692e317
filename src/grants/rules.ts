import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import type { Action, ActionKind, StoreActionDetails } from './action.ts';
import type { Refusal } from './action-error.ts';
import { type ActionContext, type Form, type Reviewed, usableIds } from './context.ts';
import { GRANT_RULES } from './grant.ts';
import { type Changes, countThisMonth } from './repository.ts';
import { STORE_RULES } from './store-actions.ts';
import { requiredScopes } from './store-kinds.ts';

/**
 * What reading RevenueCat shows of an action. `missing`: not done, or not done yet; `ignored`: what to store when
 * RevenueCat said that it did it. `unknown`: the API cannot show it.
 */
export type Found =
  | { readonly kind: 'done'; readonly changes: Changes }
  | { readonly kind: 'missing'; readonly ignored?: Changes }
  | { readonly kind: 'unknown' };

/** What differs between grants and store actions. */
export interface ActionRules<F extends Form, R extends Reviewed, A extends Action> {
  /**
   * Checks the form, and computes exactly what the action would do.
   *
   * @throws ActionError
   */
  prepare(context: ActionContext, form: F): Promise<R>;
  /**
   * Checks at the confirm what was reviewed, against the policy and what RevenueCat has now.
   *
   * @throws ActionError
   */
  recheck(context: ActionContext, reviewed: R): Promise<R>;
  /** What waits for approval, as its approval would do it now. Its key is the id of the action. */
  reviewRequested(context: ActionContext, action: A): Promise<R>;
  /** Whether a second teammate must approve it. */
  needsSecondPerson(context: ActionContext, reviewed: R): boolean;
  /** The one call to RevenueCat; of `manage` it gives the link. */
  call(client: RevenueCatClient, projectId: string, action: A): Promise<unknown>;
  /** Reads whether it was done. It never calls for it again. */
  readBack(client: RevenueCatClient, projectId: string, action: A): Promise<Found>;
}

export function rulesOf({ kind }: { readonly kind: ActionKind }): ActionRules<Form, Reviewed, Action> {
  return kind === 'grant' ? GRANT_RULES : STORE_RULES;
}

export const MAX_REASON_LENGTH = 1_000;

type GrantPolicy = WorkspaceSettings['grants'];
type Settings = Pick<WorkspaceSettings, 'grants' | 'actions'>;

/** The rules that all kinds of actions have. */
export function policyOf(
  { grants, actions }: Settings,
  kind: ActionKind,
): Pick<GrantPolicy, 'enabled' | 'allowedAdminIds' | 'monthlyPerAdmin'> {
  return kind === 'grant' ? grants : actions[kind === 'restore' ? 'transfer' : kind];
}

export function isReasonRequired({ grants }: Settings, kind: ActionKind): boolean {
  return kind === 'grant' ? grants.reasonRequired : kind !== 'manage';
}

/** What no choice in the form could change. */
export function checkTeammate(
  policy: Pick<GrantPolicy, 'enabled' | 'allowedAdminIds'>,
  adminId: string,
): Refusal | null {
  if (!policy.enabled) return { code: 'switched_off' };
  const { allowedAdminIds: allowed } = policy;
  // Without a teammate in the request it is not known who acts.
  if (adminId === '' || (allowed !== null && !allowed.includes(adminId))) return { code: 'not_allowed' };
  return null;
}

export function checkMonth(limit: number | null, madeThisMonth: number): Refusal | null {
  return limit !== null && madeThisMonth >= limit ? { code: 'monthly_limit', limit } : null;
}

export function checkReason(isRequired: boolean, reason: string): Refusal | null {
  if (reason.trim() === '' && isRequired) return { code: 'reason_missing' };
  return reason.trim().length > MAX_REASON_LENGTH
    ? { code: 'reason_too_long', max: MAX_REASON_LENGTH }
    : null;
}

/** An action of any stage: planned, reviewed or stored. */
interface Subject {
  readonly kind: ActionKind;
  readonly details?: Pick<StoreActionDetails, 'of'>;
}

/** What prevents an action whatever is typed, except the monthly number. */
export function findBlocker(
  { workspace, customer, request }: ActionContext,
  { kind, details }: Subject,
): Refusal | null {
  const { project } = customer;
  if (project.apiKey === null) return { code: 'no_key' };
  if (project.apiKeyState === 'rejected') return { code: 'key_rejected' };
  if (usableIds(customer).length === 0) return { code: 'no_customer_id' };
  const refusal = checkTeammate(policyOf(workspace.settings, kind), request.admin.id);
  if (refusal) return refusal;
  const scopes = requiredScopes(kind, details?.of).filter((scope) => project.missingScopes.includes(scope));
  return scopes.length > 0 ? { code: 'scope_missing', scopes: scopes.join(', ') } : null;
}

/** What prevents an action whatever is typed. `null`: the teammate can do it. */
export async function findRefusal(context: ActionContext, subject: Subject): Promise<Refusal | null> {
  const { services, workspace } = context;
  const { kind } = subject;
  const limit = policyOf(workspace.settings, kind).monthlyPerAdmin;
  const blocker = findBlocker(context, subject);
  if (blocker || limit === null) return blocker;
  const made = await countThisMonth(services.database, workspace.workspaceId, {
    adminId: context.request.admin.id,
    kind,
  });
  return checkMonth(limit, made);
}
