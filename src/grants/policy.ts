import { DAY_MS, MINUTE_MS } from '../time.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { usableIds } from './access.ts';
import type { ActionKind, Refusal, StoreActionDetails } from './action.ts';
import { requiredScopes } from './action-kinds.ts';
import type { ActionContext } from './context.ts';
import { type Duration, LIFETIME_END_MS, lengthInDays } from './durations.ts';
import { countThisMonth } from './repository.ts';

export const MAX_REASON_LENGTH = 1_000;
/** A review older than this is shown again before it is confirmed. */
export const REVIEW_VALID_MS = 30 * MINUTE_MS;

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

export function checkReason(
  { reasonRequired }: Pick<GrantPolicy, 'reasonRequired'>,
  reason: string,
): Refusal | null {
  if (reason.trim() === '' && reasonRequired) return { code: 'reason_missing' };
  return reason.trim().length > MAX_REASON_LENGTH
    ? { code: 'reason_too_long', max: MAX_REASON_LENGTH }
    : null;
}

/** Whether the policy allows a grant of a length; also asked for each choice of the form. */
export function checkLength(policy: GrantPolicy, days: number | null): Refusal | null {
  if (days === null) return policy.lifetimeAllowed ? null : { code: 'lifetime_not_allowed' };
  return days > policy.longestDays ? { code: 'too_long', days: policy.longestDays } : null;
}

/**
 * Checks a grant against the workspace's policy, except the monthly number, which is counted where the grant is
 * stored. Called at review, at confirm and at approval: what a card shows protects nothing.
 */
export function checkPolicy(
  policy: GrantPolicy,
  grant: { readonly adminId: string; readonly days: number | null; readonly reason: string },
): Refusal | null {
  return (
    checkTeammate(policy, grant.adminId) ??
    checkLength(policy, grant.days) ??
    checkReason(policy, grant.reason)
  );
}

/** Whether a second teammate must approve a grant. */
export function needsApproval(policy: GrantPolicy, days: number | null): boolean {
  const above = policy.secondPersonAboveDays;
  return above !== null && (days === null || days > above);
}

/** Whether a refund needs a second teammate; one of a sum that is not known does. */
export function isAboveLimit({ actions }: Pick<Settings, 'actions'>, amount: number | null): boolean {
  const { maxAmountAlone } = actions.refund;
  return maxAmountAlone !== null && (amount === null || amount > maxAmountAlone);
}

/**
 * How long a grant is, in days: as an admin means it for a chosen duration (a month is a month), else the full days
 * that it adds. `null`: it never ends.
 *
 * @param chosen.countsFromMs now, or the end of what the customer pays for: only granted time counts
 */
export function lengthOf(chosen: {
  readonly duration: Duration | 'custom';
  readonly isAdded: boolean;
  readonly countsFromMs: number;
  readonly endMs: number;
}): number | null {
  if (chosen.duration === 'lifetime' || chosen.endMs >= LIFETIME_END_MS) return null;
  return chosen.duration === 'custom' || chosen.isAdded
    ? Math.floor((chosen.endMs - chosen.countsFromMs) / DAY_MS)
    : lengthInDays(chosen.duration);
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
