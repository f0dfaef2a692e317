import type { Sql } from '../database/sql.ts';
import { toMajor } from '../subscription/money.ts';
import { isBlank } from '../text.ts';
import { DAY_MS } from '../time.ts';
import { queueKeyCheck } from '../workspaces/key-state.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { currentEndOrNow, endsAtReview } from './access.ts';
import type { Action, ActionKind, StoreActionDetails } from './action.ts';
import { type ActionError, refused } from './action-error.ts';
import { requiredScopes } from './action-kinds.ts';
import type { ActionContext } from './context.ts';
import { LIFETIME_END_MS, lengthInDays } from './durations.ts';
import type { Reviewed, ReviewedGrant } from './form-state.ts';
import { usableIds } from './read-revenuecat.ts';
import { countThisMonth } from './repository.ts';

export const MAX_REASON_LENGTH = 1_000;

type GrantPolicy = WorkspaceSettings['grants'];
type Settings = Pick<WorkspaceSettings, 'grants' | 'actions'>;

/** The rules that all kinds of actions share. */
export function policyOf(
  { grants, actions }: Settings,
  kind: ActionKind,
): Pick<GrantPolicy, 'enabled' | 'allowedAdminIds' | 'monthlyPerAdmin'> {
  return kind === 'grant' ? grants : actions[kind === 'restore' ? 'transfer' : kind];
}

export function isReasonRequired({ grants }: Settings, kind: ActionKind): boolean {
  return kind === 'grant' ? grants.reasonRequired : kind !== 'manage';
}

/** Whether the teammate may act at all, whatever the form says. */
export function checkTeammate(
  policy: Pick<GrantPolicy, 'enabled' | 'allowedAdminIds'>,
  adminId: string,
): ActionError | null {
  if (!policy.enabled) return refused('switched_off');
  const { allowedAdminIds: allowed } = policy;
  // Without a teammate in the request it is not known who acts.
  if (adminId === '' || (allowed !== null && !allowed.includes(adminId))) return refused('not_allowed');
  return null;
}

export function checkReason(isRequired: boolean, reason: string): ActionError | null {
  if (isRequired && isBlank(reason)) return refused('reason_missing');
  return reason.trim().length > MAX_REASON_LENGTH
    ? refused('reason_too_long', { max: MAX_REASON_LENGTH })
    : null;
}

export function checkLength(policy: GrantPolicy, days: number | null): ActionError | null {
  if (days === null) return policy.lifetimeAllowed ? null : refused('lifetime_not_allowed');
  return days > policy.longestDays ? refused('too_long', { days: policy.longestDays }) : null;
}

export function needsApproval(policy: GrantPolicy, days: number | null): boolean {
  const above = policy.secondPersonAboveDays;
  return above !== null && (days === null || days > above);
}

/**
 * How many days count for the policy. A chosen duration counts as an admin means it (a month is a month). If it is
 * added to a grant, the full days of both count. `null`: it never ends.
 */
export function grantedDays(nowMs: number, reviewed: ReviewedGrant): number | null {
  const { duration, start, requestedEndMs, boughtEndMs } = reviewed;
  if (duration === 'lifetime' || requestedEndMs >= LIFETIME_END_MS) return null;
  const paidUntilMs = start === 'after' ? Math.max(nowMs, boughtEndMs ?? 0) : nowMs;
  const isAddedToGrant = start === 'after' && currentEndOrNow(nowMs, endsAtReview(reviewed)) > paidUntilMs;
  if (duration !== 'custom' && !isAddedToGrant) return lengthInDays(duration);
  return Math.floor((requestedEndMs - paidUntilMs) / DAY_MS);
}

/** Whether a second teammate must approve an action. If refunds have a limit, one of an unknown sum needs it, too. */
export function needsSecondPerson({ app, workspace }: ActionContext, reviewed: Reviewed): boolean {
  const { settings } = workspace;
  if (reviewed.kind === 'grant') return needsApproval(settings.grants, grantedDays(app.now(), reviewed));
  const { maxAmountAlone } = settings.actions.refund;
  if (reviewed.kind !== 'refund' || maxAmountAlone === null) return false;
  const { amount } = reviewed.details;
  return amount === null || toMajor(amount) > maxAmountAlone;
}

/** An action at any stage: planned, reviewed or stored. */
export interface CheckedAction {
  readonly kind: ActionKind;
  readonly details?: Pick<StoreActionDetails, 'targetType'>;
}

/** Why an action is refused, whatever the form says; `null`: the teammate can do it. */
export async function findRefusal(
  context: ActionContext,
  action: CheckedAction,
): Promise<ActionError | null> {
  const { app, workspace, request } = context;
  const { kind } = action;
  const by = { workspaceId: workspace.workspaceId, admin: request.admin, kind };
  const limit = policyOf(workspace.settings, kind).monthlyPerAdmin;
  const refusal = findRefusalExceptLimit(context, action);
  // An admin may have added it since the key was checked.
  if (refusal?.code === 'scope_missing') await queueKeyCheck(app, by.workspaceId);
  return refusal ?? (await checkActionsThisMonth(app.database, limit, by));
}

export async function checkActionsThisMonth(
  sql: Sql,
  limit: number | null,
  by: Pick<Action, 'workspaceId' | 'admin' | 'kind'>,
): Promise<ActionError | null> {
  return limit !== null && (await countThisMonth(sql, by)) >= limit
    ? refused('monthly_limit', { limit })
    : null;
}

/** The same without the monthly limit: a decision about another teammate's request does not count toward it. */
export function findRefusalExceptLimit(
  { workspace, customer, request }: ActionContext,
  { kind, details }: CheckedAction,
): ActionError | null {
  const { project } = customer;
  if (project.apiKey === null) return refused('no_key');
  if (project.apiKeyState === 'rejected') return refused('key_rejected');
  if (usableIds(customer).length === 0) return refused('no_customer_id');
  const refusal = checkTeammate(policyOf(workspace.settings, kind), request.admin.id);
  if (refusal) return refusal;
  const scopes = requiredScopes(kind, details?.targetType).filter((scope) =>
    project.missingScopes.includes(scope),
  );
  return scopes.length > 0 ? refused('scope_missing', { scopes: scopes.join(', ') }) : null;
}
