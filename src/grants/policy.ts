import { DAY_MS } from '../time.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { type Duration, LIFETIME_END_MS, lengthInDays } from './durations.ts';

export const MAX_REASON_LENGTH = 1_000;

/** Why an action is not allowed. The card has a message for each code. */
export type Refusal =
  | {
      readonly code:
        | 'switched_off'
        | 'not_allowed'
        | 'lifetime_not_allowed'
        | 'reason_missing'
        | 'same_person'
        | 'unconfirmed'
        | 'no_effect';
    }
  | { readonly code: 'too_long'; readonly maxDays: number }
  | { readonly code: 'reason_too_long'; readonly max: number }
  | { readonly code: 'monthly_limit'; readonly limit: number };

type GrantPolicy = WorkspaceSettings['grants'];

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

/** What no choice in the form could change. */
export function checkTeammate(
  policy: Pick<GrantPolicy, 'enabled' | 'allowedAdminIds'>,
  adminId: string,
): Refusal | null {
  if (!policy.enabled) return { code: 'switched_off' };
  const { allowedAdminIds: allowed } = policy;
  // Without a teammate in the request it is not known who grants.
  if (adminId === '' || (allowed !== null && !allowed.includes(adminId))) return { code: 'not_allowed' };
  return null;
}

export function checkMonth(limit: number | null, madeThisMonth: number): Refusal | null {
  return limit !== null && madeThisMonth >= limit ? { code: 'monthly_limit', limit } : null;
}

/** Whether the policy allows a length; also asked for each choice of the form. */
export function checkLength(policy: GrantPolicy, days: number | null): Refusal | null {
  if (days === null) return policy.lifetimeAllowed ? null : { code: 'lifetime_not_allowed' };
  return days > policy.longestDays ? { code: 'too_long', maxDays: policy.longestDays } : null;
}

export function checkReason(policy: { readonly reasonRequired: boolean }, reason: string): Refusal | null {
  if (reason.trim() === '' && policy.reasonRequired) return { code: 'reason_missing' };
  return reason.trim().length > MAX_REASON_LENGTH
    ? { code: 'reason_too_long', max: MAX_REASON_LENGTH }
    : null;
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

/** Whether a second teammate must approve. */
export function needsApproval(policy: GrantPolicy, days: number | null): boolean {
  const above = policy.secondPersonAboveDays;
  return above !== null && (days === null || days > above);
}
