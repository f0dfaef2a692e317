import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { FOREVER_MS, isSameEnd } from './ends.ts';

/** RevenueCat treats ends that are closer than this as the same grant and keeps the old one (v1 documentation). */
const SAME_GRANT_MS = 2 * 3_600_000;
/** Ids that are tried: a customer is known under any of them, and under few. */
const MAX_IDS = 3;

/** Ends of the access to one entitlement; `null`: it is not given that way. {@link FOREVER_MS}: no end. */
export interface Ends {
  /** By what was granted. */
  readonly grantEndMs: number | null;
  /** By what was bought: a subscription that gives access, or a purchase once and for all. */
  readonly boughtEndMs: number | null;
  /** By everything together. */
  readonly endMs: number | null;
}

/** What RevenueCat gives a customer at this moment. */
export interface CustomerAccess {
  /** The id under which RevenueCat knows the customer. */
  readonly appUserId: string;
  endsOf(entitlement: { readonly id: string; readonly lookupKey: string }): Ends;
  /** Everything that gives access: entitlement ids with their ends. */
  readonly active: readonly { readonly entitlementId: string; readonly endMs: number }[];
  /** A store charges again when the period ends. */
  readonly willRenew: boolean;
}

/**
 * Reads a customer's access from RevenueCat: two calls, or more where the first id is not known there.
 *
 * @returns `null`: RevenueCat knows none of the ids
 * @throws AppError when RevenueCat refuses or does not answer
 */
export async function readAccess(
  client: RevenueCatClient,
  revenueCatProjectId: string,
  appUserIds: readonly string[],
): Promise<CustomerAccess | null> {
  for (const appUserId of appUserIds.slice(0, MAX_IDS)) {
    try {
      const [active, subscriptions] = await Promise.all([
        client.activeEntitlements(revenueCatProjectId, appUserId),
        client.listSubscriptions(revenueCatProjectId, appUserId),
      ]);
      const inForce = subscriptions.filter(({ givesAccess }) => givesAccess);
      const granted = inForce.filter(({ store }) => store === 'PROMOTIONAL');
      const bought = inForce.filter(({ store }) => store !== 'PROMOTIONAL');
      return {
        appUserId,
        active: active.map((each) => ({
          entitlementId: each.entitlementId,
          endMs: each.endsAtMs ?? FOREVER_MS,
        })),
        willRenew: bought.some(({ willRenew }) => willRenew),
        endsOf: ({ id, lookupKey }) =>
          together(
            latest(granted.filter(({ entitlements }) => entitlements.includes(lookupKey))),
            latest(bought.filter(({ entitlements }) => entitlements.includes(lookupKey))),
            latest(active.filter(({ entitlementId }) => entitlementId === id)),
          ),
      };
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'revenuecat_not_found') throw error;
    }
  }
  return null;
}

/**
 * What outlasts both grants and subscriptions was bought once and for all: purchases have no list of their own
 * here.
 */
export function together(
  grantEndMs: number | null,
  subscribedEndMs: number | null,
  endMs: number | null,
): Ends {
  const known = Math.max(grantEndMs ?? 0, subscribedEndMs ?? 0);
  const isPurchase = endMs !== null && endMs > known && !isSameEnd(endMs, known);
  return { grantEndMs, boughtEndMs: isPurchase ? endMs : subscribedEndMs, endMs };
}

function latest(ends: readonly { readonly endsAtMs: number | null }[]): number | null {
  return ends.length === 0 ? null : Math.max(...ends.map(({ endsAtMs }) => endsAtMs ?? FOREVER_MS));
}

/** Why a grant would change nothing, with the end that stays. */
export interface NoEffect {
  readonly kind: 'paid_until_later' | 'same_grant' | 'later_grant';
  readonly endMs: number;
}

/**
 * Whether RevenueCat would take a grant and change nothing. v2 does not say what "unless one already exists" in
 * its description means (UNVERIFIED); v1 keeps the end where the new one is within two hours of it, and clients
 * have seen the later of two ends win.
 */
export function withoutEffect(current: Omit<Ends, 'endMs'>, endMs: number): NoEffect | null {
  const { grantEndMs, boughtEndMs } = current;
  if (boughtEndMs !== null && boughtEndMs >= endMs) return { kind: 'paid_until_later', endMs: boughtEndMs };
  if (grantEndMs === null) return null;
  if (isSameGrant(grantEndMs, endMs)) return { kind: 'same_grant', endMs: grantEndMs };
  return grantEndMs > endMs ? { kind: 'later_grant', endMs: grantEndMs } : null;
}

function isSameGrant(oneMs: number, otherMs: number): boolean {
  return Math.abs(oneMs - otherMs) <= SAME_GRANT_MS || isSameEnd(oneMs, otherMs);
}

/** What reading back says of a grant that was asked for. */
export type ReadBack =
  /** It is there. */
  | 'made'
  /** What was there before is there still, as RevenueCat does with a grant that would change nothing. */
  | 'kept'
  /** It is not there, or what should have grown has not: not done, or not done yet. */
  | 'not_there';

/**
 * @param beforeEndMs end of what was granted before; `null`: nothing
 * @param afterEndMs the same, read now
 */
export function judge(askedEndMs: number, beforeEndMs: number | null, afterEndMs: number | null): ReadBack {
  if (afterEndMs === null) return 'not_there';
  if (!isSameEnd(afterEndMs, beforeEndMs)) return 'made';
  return isSameGrant(afterEndMs, askedEndMs) || afterEndMs > askedEndMs ? 'kept' : 'not_there';
}
