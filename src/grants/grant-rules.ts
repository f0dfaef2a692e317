import { randomUUID } from 'node:crypto';
import {
  type Access,
  type Ends,
  type Entitlement,
  entitlementName,
  findNoEffect,
  readCurrentAccess,
  readEntitlements,
  readOrStoredAccess,
  storedAccess,
} from './access.ts';
import type { Grant, GrantStart, Refusal } from './action.ts';
import type { ActionContext, ReviewAgain, ReviewResult, Rules } from './context.ts';
import {
  type Duration,
  endOfDuration,
  isDuration,
  isSameEnd,
  LIFETIME_END_MS,
  parseEndDate,
} from './durations.ts';
import type { ReviewedGrant } from './form-state.ts';
import { checkPolicy, lengthOf, needsApproval, REVIEW_VALID_MS } from './policy.ts';

/** What the agent has filled in so far. */
export interface GrantForm {
  readonly kind: 'grant';
  readonly entitlement?: string | undefined;
  readonly duration?: string | undefined;
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly reason?: string | undefined;
}

/** By id; a single entitlement also by key or name, since a field that cannot be changed holds its name. */
export function findEntitlement(entitlements: readonly Entitlement[], value = ''): Entitlement | null {
  const [first] = entitlements;
  const only = entitlements.length === 1 && first ? first : null;
  if (value === '') return only;
  const known = entitlements.find((each) => each.id === value || each.lookupKey === value);
  return known ?? (only?.displayName === value ? only : null);
}

/** The end of a chosen duration. */
export function endOf(
  nowMs: number,
  chosen: { readonly duration: Duration; readonly start: GrantStart },
  ends: Ends,
): number {
  return endOfDuration(chosen.duration, chosen.start === 'after' ? addedToMs(nowMs, ends) : nowMs);
}

/** The end of what the customer has; now, when nothing runs or it never ends. */
export function addedToMs(nowMs: number, ends: Ends): number {
  const endMs = Math.max(ends.grantEndMs ?? 0, ends.boughtEndMs ?? 0);
  return endMs > nowMs && endMs < LIFETIME_END_MS ? endMs : nowMs;
}

type Terms = Pick<ReviewedGrant, 'duration' | 'start' | 'requestedEndMs' | 'previousEndMs' | 'boughtEndMs'>;

/** The ends of what the customer had when a grant was reviewed. */
export function endsBefore({
  previousEndMs,
  boughtEndMs,
}: Pick<Terms, 'previousEndMs' | 'boughtEndMs'>): Ends {
  return { grantEndMs: previousEndMs, boughtEndMs };
}

/** Days that count for the policy: what the customer paid for is not granted. */
export function grantedDays(nowMs: number, terms: Terms): number | null {
  const isAdded = terms.start === 'after' && addedToMs(nowMs, endsBefore(terms)) > nowMs;
  return lengthOf({
    duration: terms.duration,
    isAdded,
    endMs: terms.requestedEndMs,
    countsFromMs: isAdded ? Math.max(nowMs, terms.boughtEndMs ?? 0) : nowMs,
  });
}

/** What reading the customer's access adds. */
const UNREAD = {
  previousEndMs: null,
  boughtEndMs: null,
  access: { items: [], isStored: false },
  reviewedAtMs: 0,
};

export const GRANT_RULES: Rules<GrantForm, ReviewedGrant, Grant> = {
  prepare,
  recheck,
  reviewRequested,
  needsSecondPerson: ({ services, workspace }, reviewed) =>
    needsApproval(workspace.settings.grants, grantedDays(services.now(), reviewed)),
};

async function prepare(context: ActionContext, form: GrantForm): Promise<ReviewResult> {
  const { workspace, customer } = context;
  const entitlements = await readEntitlements(context);
  const entitlement = findEntitlement(entitlements, form.entitlement);
  const customEndMs = form.end ? parseEndDate(form.end, workspace.timezone) : null;
  if (entitlements.length === 0) return { kind: 'invalid', code: 'noEntitlements' };
  if (!entitlement) return { kind: 'invalid', code: 'chooseEntitlement' };
  if (form.end && customEndMs === null) return { kind: 'invalid', code: 'endInvalid' };
  if (!form.end && !isDuration(form.duration)) return { kind: 'invalid', code: 'chooseDuration' };
  const current = await readCurrentAccess(context, entitlements);
  const isDown = current === 'revenuecat_unavailable' || current === 'revenuecat_rate_limited';
  if (typeof current === 'string' && !isDown) return { kind: 'failed', code: current };
  const access = typeof current === 'string' ? storedAccess(customer) : current;
  const isCustom = customEndMs !== null;
  const reviewed = reviewedNow(
    context,
    {
      ...UNREAD,
      kind: 'grant',
      key: randomUUID(),
      subscriberId: customer.subscriber.subscriberId,
      appUserId: access.appUserId,
      target: entitlement.id,
      lookupKey: entitlement.lookupKey,
      entitlementName: entitlementName(customer, entitlement),
      duration: !isCustom && isDuration(form.duration) ? form.duration : 'custom',
      start: isCustom || form.start === 'now' ? 'now' : 'after',
      end: form.end ?? '',
      reason: form.reason ?? '',
      requestedEndMs: customEndMs ?? 0,
    },
    access,
  );
  const { requestedEndMs } = reviewed;
  if (requestedEndMs <= reviewed.reviewedAtMs) return { kind: 'invalid', code: 'endPast' };
  if (isCustom && requestedEndMs >= LIFETIME_END_MS) return { kind: 'invalid', code: 'endTooFar' };
  const refusal = checkGrant(context, reviewed);
  return refusal ? { kind: 'refused', ...refusal } : { kind: 'ready', reviewed };
}

function checkGrant(context: ActionContext, reviewed: ReviewedGrant): Refusal | null {
  const days = grantedDays(context.services.now(), reviewed);
  const { reason } = reviewed;
  return checkPolicy(context.workspace.settings.grants, { adminId: context.request.admin.id, days, reason });
}

async function recheck(context: ActionContext, reviewed: ReviewedGrant): Promise<ReviewResult | ReviewAgain> {
  const refusal = checkGrant(context, reviewed);
  if (refusal) return { kind: 'refused', ...refusal };
  const entitlements = await readEntitlements(context);
  const entitlement = entitlements.find(({ id }) => id === reviewed.target);
  if (!entitlement) {
    const isUnread = entitlements.length === 0;
    return { kind: 'failed', code: isUnread ? 'revenuecat_unavailable' : 'revenuecat_not_found' };
  }
  const access = await readCurrentAccess(context, entitlements);
  if (typeof access === 'string') return { kind: 'failed', code: access };
  const nowMs = context.services.now();
  const ends = access.endsOf(entitlement);
  const hasChanged =
    !isSameEnd(ends.grantEndMs, reviewed.previousEndMs) || !isSameEnd(ends.boughtEndMs, reviewed.boughtEndMs);
  const isCurrent = nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS && reviewed.requestedEndMs > nowMs;
  if (!hasChanged && isCurrent) {
    if (findNoEffect(ends, reviewed.requestedEndMs)) return { kind: 'refused', code: 'no_effect' };
    return { kind: 'ready', reviewed: { ...reviewed, appUserId: access.appUserId } };
  }
  const again = reviewedNow(context, reviewed, access);
  if (again.requestedEndMs <= nowMs) return { kind: 'invalid', code: 'endPast' };
  return { kind: 'review_again', reason: hasChanged ? 'changed' : 'stale', reviewed: again };
}

/** A duration counts from now: a month requested on Monday and approved on Friday is a month. */
function reviewedNow(context: ActionContext, reviewed: ReviewedGrant, access: Access): ReviewedGrant {
  const nowMs = context.services.now();
  const { duration, start, target, lookupKey } = reviewed;
  const ends = access.endsOf({ id: target, lookupKey });
  return {
    ...reviewed,
    requestedEndMs: duration === 'custom' ? reviewed.requestedEndMs : endOf(nowMs, { duration, start }, ends),
    previousEndMs: ends.grantEndMs,
    boughtEndMs: ends.boughtEndMs,
    access: { items: [...access.items], isStored: access.isStored },
    reviewedAtMs: nowMs,
  };
}

async function reviewRequested(context: ActionContext, grant: Grant): Promise<ReviewedGrant> {
  const requested: ReviewedGrant = {
    ...UNREAD,
    ...grant,
    key: grant.actionId,
    end: '',
  };
  return reviewedNow(context, requested, await readOrStoredAccess(context));
}

export function entitlementOf(grant: Grant): Entitlement {
  return { id: grant.target, lookupKey: grant.lookupKey, displayName: grant.entitlementName };
}
