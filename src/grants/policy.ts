import { DAY_MS } from '../time.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { type Duration, lengthInDays } from './durations.ts';
import { isForever } from './ends.ts';

/** Characters that a reason may have. */
export const MAX_REASON_LENGTH = 1_000;

/** Why a grant is not allowed; the card has a sentence for each. */
export type Refusal =
  | { readonly code: 'switched_off' }
  | { readonly code: 'not_allowed' }
  | { readonly code: 'lifetime_not_allowed' }
  | { readonly code: 'too_long'; readonly longestDays: number }
  | { readonly code: 'reason_missing' }
  | { readonly code: 'reason_too_long'; readonly most: number }
  | { readonly code: 'monthly_limit'; readonly limit: number }
  | { readonly code: 'same_person' };

type GrantPolicy = WorkspaceSettings['grants'];

/**
 * How long a grant is, in days: as an admin means it for a chosen duration (a month is a month), else the full
 * days from now. `null`: it never ends.
 *
 * @param isAdded the duration follows a grant that is running, so that only the end tells
 */
export function lengthOf(
  chosen: { readonly duration: Duration | 'custom'; readonly isAdded: boolean; readonly endMs: number },
  nowMs: number,
): number | null {
  if (chosen.duration === 'lifetime' || isForever(chosen.endMs)) return null;
  return chosen.duration === 'custom' || chosen.isAdded
    ? Math.floor((chosen.endMs - nowMs) / DAY_MS)
    : lengthInDays(chosen.duration);
}

/** What no choice in the form could change. */
export function checkTeammate(policy: GrantPolicy, adminId: string): Refusal | null {
  if (!policy.enabled) return { code: 'switched_off' };
  const { allowedAdminIds: allowed } = policy;
  // A request without a teammate is nobody's: nobody may grant.
  if (adminId === '' || (allowed !== null && !allowed.includes(adminId))) return { code: 'not_allowed' };
  return null;
}

export function checkMonth(policy: GrantPolicy, madeThisMonth: number): Refusal | null {
  const limit = policy.monthlyPerAdmin;
  return limit !== null && madeThisMonth >= limit ? { code: 'monthly_limit', limit } : null;
}

/** Whether the policy allows a length; asked for each choice of the form, too. */
export function checkLength(policy: GrantPolicy, days: number | null): Refusal | null {
  if (days === null) return policy.lifetimeAllowed ? null : { code: 'lifetime_not_allowed' };
  return days > policy.longestDays ? { code: 'too_long', longestDays: policy.longestDays } : null;
}

/**
 * Checks a grant against the workspace's policy, but for the monthly number, which is counted where the grant is
 * stored. Asked at review, at confirm and at approval: what a card shows is no protection.
 */
export function checkPolicy(
  policy: GrantPolicy,
  grant: { readonly adminId: string; readonly days: number | null; readonly reason: string },
): Refusal | null {
  const refusal = checkTeammate(policy, grant.adminId) ?? checkLength(policy, grant.days);
  if (refusal) return refusal;
  const reason = grant.reason.trim();
  if (reason === '' && policy.reasonRequired) return { code: 'reason_missing' };
  return reason.length > MAX_REASON_LENGTH ? { code: 'reason_too_long', most: MAX_REASON_LENGTH } : null;
}

/** Whether a second teammate must approve. */
export function needsApproval(policy: GrantPolicy, days: number | null): boolean {
  const above = policy.secondPersonAboveDays;
  return above !== null && (days === null || days > above);
}
