import type { WorkspaceSettings } from '../workspaces/settings.ts';
import { type Duration, lengthInDays } from './durations.ts';

/** Why a grant is not allowed; the card has a sentence for each. */
export type Refusal =
  | { readonly code: 'switched_off' }
  | { readonly code: 'not_allowed' }
  | { readonly code: 'lifetime_not_allowed' }
  | { readonly code: 'too_long'; readonly longestDays: number }
  | { readonly code: 'reason_missing' }
  | { readonly code: 'monthly_limit'; readonly limit: number };

/**
 * Checks a grant against the workspace's policy. Asked at review and again at confirm: what the card shows is
 * no protection.
 *
 * @param madeThisMonth grants of this teammate since the first of the month, UTC
 */
export function checkPolicy(
  settings: WorkspaceSettings['grants'],
  grant: { adminId: string; duration: Duration; reason: string; madeThisMonth: number },
): Refusal | null {
  if (!settings.enabled) return { code: 'switched_off' };
  if (settings.allowedAdminIds.length > 0 && !settings.allowedAdminIds.includes(grant.adminId)) {
    return { code: 'not_allowed' };
  }
  if (grant.duration === 'lifetime') {
    if (!settings.lifetimeAllowed) return { code: 'lifetime_not_allowed' };
  } else if (lengthInDays(grant.duration) > settings.longestDays) {
    return { code: 'too_long', longestDays: settings.longestDays };
  }
  if (settings.reasonRequired && grant.reason.trim() === '') return { code: 'reason_missing' };
  if (settings.monthlyPerAdmin !== null && grant.madeThisMonth >= settings.monthlyPerAdmin) {
    return { code: 'monthly_limit', limit: settings.monthlyPerAdmin };
  }
  return null;
}
