import { randomUUID } from 'node:crypto';
import { clip } from '../intercom/canvas.ts';
import { stripInvisible } from '../text.ts';
import { isForever } from '../time.ts';
import {
  type Access,
  currentEndOrNow,
  type Ends,
  type Entitlement,
  endsAtReview,
  endsOf,
  entitlementName,
  findNoEffect,
  readCurrentAccess,
  readGrantable,
  readOrStoredAccess,
} from './access.ts';
import type { GrantStart } from './action.ts';
import { failed, invalid, outdated, refused, throwRefusal } from './action-error.ts';
import type { ActionContext, ActionCustomer } from './context.ts';
import { type Duration, endOfDuration, isDuration, isSameEnd, parseEndDate } from './durations.ts';
import { type GrantForm, REVIEW_VALID_MS, type Reviewed, type ReviewedGrant } from './form-state.ts';
import { checkLength, grantedDays } from './policy.ts';

/**
 * Finds by id or key. A single entitlement is also found by the name that its read-only field shows: whether Intercom
 * submits such a field is UNVERIFIED.
 */
export function findEntitlement(
  customer: ActionCustomer,
  entitlements: readonly Entitlement[],
  value = '',
): Entitlement | null {
  const found = entitlements.find((each) => each.id === value || each.lookupKey === value);
  const [only, ...others] = entitlements;
  if (found || !only || others.length > 0) return found ?? null;
  return value === '' || value === stripInvisible(entitlementName(customer, only)).trim() ? only : null;
}

export function endOfGrant(
  nowMs: number,
  chosen: { readonly duration: Duration; readonly start: GrantStart; readonly timeZone: string },
  ends: Ends,
): number {
  const fromMs = chosen.start === 'after' ? currentEndOrNow(nowMs, ends) : nowMs;
  return endOfDuration(chosen.duration, fromMs, chosen.timeZone);
}

/** Computes exactly what the grant would do. @throws ActionError */
export async function prepareGrant(context: ActionContext, form: GrantForm): Promise<ReviewedGrant> {
  const { workspace, customer } = context;
  const entitlements = await readGrantable(context.app, context.customer.project);
  const entitlement = findEntitlement(customer, entitlements, form.entitlement);
  const customEndMs = form.end ? parseEndDate(form.end, workspace.timezone) : null;
  if (entitlements.length === 0) throw invalid('noEntitlements');
  if (!entitlement) throw invalid('chooseEntitlement');
  if (form.end && customEndMs === null) throw invalid('endInvalid');
  if (!form.end && !isDuration(form.duration)) throw invalid('chooseDuration');
  const access = await readOrStoredAccess(context);
  const isCustom = customEndMs !== null;
  const reviewed = computeReviewedGrant(
    context,
    {
      kind: 'grant',
      key: randomUUID(),
      subscriberId: customer.subscriberId,
      appUserId: access.appUserId,
      target: entitlement.id,
      lookupKey: entitlement.lookupKey,
      entitlementName: entitlementName(customer, entitlement),
      duration: !isCustom && isDuration(form.duration) ? form.duration : 'custom',
      start: isCustom || form.start === 'now' ? 'now' : 'after',
      reason: form.reason ?? '',
      requestedEndMs: customEndMs ?? 0,
    },
    access,
  );
  const { requestedEndMs } = reviewed;
  if (requestedEndMs <= reviewed.reviewedAtMs) throw invalid('endPast');
  if (isCustom && isForever(requestedEndMs)) throw invalid('endTooFar');
  checkTerms(context, reviewed);
  return reviewed;
}

function checkTerms({ app, workspace }: ActionContext, reviewed: ReviewedGrant): void {
  throwRefusal(checkLength(workspace.settings.grants, grantedDays(app.now(), reviewed)));
}

/** Checks what was reviewed against the policy and what RevenueCat has now. @throws ActionError */
export async function recheckGrant(context: ActionContext, reviewed: ReviewedGrant): Promise<ReviewedGrant> {
  checkTerms(context, reviewed);
  const entitlements = await readGrantable(context.app, context.customer.project);
  const entitlement = entitlements.find(({ id }) => id === reviewed.target);
  if (!entitlement)
    throw failed(entitlements.length === 0 ? 'revenuecat_unavailable' : 'revenuecat_not_found');
  const access = await readCurrentAccess(context);
  const nowMs = context.app.now();
  const ends = endsOf(access, entitlement);
  const hasChanged =
    !isSameEnd(ends.grantEndMs, reviewed.previousEndMs) || !isSameEnd(ends.boughtEndMs, reviewed.boughtEndMs);
  const isCurrent = nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS && reviewed.requestedEndMs > nowMs;
  if (!hasChanged && isCurrent) {
    if (findNoEffect(ends, reviewed.requestedEndMs)) throw refused('no_effect');
    return { ...reviewed, appUserId: access.appUserId };
  }
  const again = computeReviewedGrant(context, reviewed, access);
  if (again.requestedEndMs <= nowMs) throw invalid('endPast');
  throw outdated(hasChanged ? 'changed' : 'stale', again);
}

/** Why the reviewed grant would change nothing; `null`: it changes something. */
export function noEffectOf(reviewed: Reviewed): ReturnType<typeof findNoEffect> {
  return reviewed.kind === 'grant' ? findNoEffect(endsAtReview(reviewed), reviewed.requestedEndMs) : null;
}

/** How many entitlements a review shows at most: a canvas holds 64 KB. */
const MAX_ITEMS = 50;
const MAX_NAME_LENGTH = 100;

/**
 * Computes the grant's ends from this access. A duration counts from now, so that a month requested on Monday and
 * approved on Friday is still a whole month.
 */
export function computeReviewedGrant(
  context: ActionContext,
  grant: Omit<ReviewedGrant, 'previousEndMs' | 'boughtEndMs' | 'access' | 'reviewedAtMs'>,
  access: Access,
): ReviewedGrant {
  const nowMs = context.app.now();
  const { duration, start, target, lookupKey } = grant;
  const { timezone: timeZone } = context.workspace;
  const ends = endsOf(access, { id: target, lookupKey });
  const shown = access.items.slice(0, MAX_ITEMS);
  const items = shown.map(({ name, endMs }) => ({ name: clip(name, MAX_NAME_LENGTH), endMs }));
  return {
    ...grant,
    requestedEndMs:
      duration === 'custom' ? grant.requestedEndMs : endOfGrant(nowMs, { duration, start, timeZone }, ends),
    previousEndMs: ends.grantEndMs,
    boughtEndMs: ends.boughtEndMs,
    access: { items, isStored: access.isStored },
    reviewedAtMs: nowMs,
  };
}
