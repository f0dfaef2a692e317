import { randomUUID } from 'node:crypto';
import { nullOn } from '../errors.ts';
import { clip } from '../intercom/canvas.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS } from '../time.ts';
import {
  type Access,
  compareReadBack,
  type Ends,
  type Entitlement,
  endsOf,
  entitlementName,
  findNoEffect,
  readAccess,
  readCurrentAccess,
  readEntitlements,
  readOrStoredAccess,
  readShownAccess,
} from './access.ts';
import type { Grant, GrantStart } from './action.ts';
import { failed, invalid, outdated, refused, throwRefusal } from './action-error.ts';
import type { ActionContext } from './context.ts';
import {
  type Duration,
  endOfDuration,
  isDuration,
  isSameEnd,
  LIFETIME_END_MS,
  lengthInDays,
  parseEndDate,
} from './durations.ts';
import { type GrantForm, REVIEW_VALID_MS, type ReviewedGrant } from './form-state.ts';
import type { ActionHandler, ReadBackResult } from './handlers.ts';
import { checkLength, needsApproval } from './policy.ts';

/** By id or key; a single entitlement also by name, which the field holds that cannot be changed. */
export function findEntitlement(entitlements: readonly Entitlement[], value = ''): Entitlement | null {
  const [first] = entitlements;
  const only = entitlements.length === 1 && first ? first : null;
  if (value === '') return only;
  const known = entitlements.find((each) => each.id === value || each.lookupKey === value);
  return known ?? (only?.displayName === value ? only : null);
}

/** The end of a chosen duration. */
export function endOfGrant(
  nowMs: number,
  chosen: { readonly duration: Duration; readonly start: GrantStart },
  ends: Ends,
): number {
  return endOfDuration(chosen.duration, chosen.start === 'after' ? currentEndOrNow(nowMs, ends) : nowMs);
}

/** When the customer's access ends; now, when there is none or it never ends. */
export function currentEndOrNow(nowMs: number, ends: Ends): number {
  const endMs = Math.max(ends.grantEndMs ?? 0, ends.boughtEndMs ?? 0);
  return endMs > nowMs && endMs < LIFETIME_END_MS ? endMs : nowMs;
}

/** The customer's access when the grant was reviewed. */
export function endsAtReview({ previousEndMs, boughtEndMs }: ReviewedGrant): Ends {
  return { grantEndMs: previousEndMs, boughtEndMs };
}

/**
 * Days that count for the policy: of a chosen duration as an admin means it (a month is a month), else the full days
 * that are added to what the customer pays for. `null`: it never ends.
 */
export function grantedDays(nowMs: number, reviewed: ReviewedGrant): number | null {
  const { duration, start, requestedEndMs, boughtEndMs } = reviewed;
  if (duration === 'lifetime' || requestedEndMs >= LIFETIME_END_MS) return null;
  const isAdded = start === 'after' && currentEndOrNow(nowMs, endsAtReview(reviewed)) > nowMs;
  if (duration !== 'custom' && !isAdded) return lengthInDays(duration);
  const fromMs = isAdded ? Math.max(nowMs, boughtEndMs ?? 0) : nowMs;
  return Math.floor((requestedEndMs - fromMs) / DAY_MS);
}

export const GRANT_HANDLER: ActionHandler<GrantForm, ReviewedGrant, Grant> = {
  prepare,
  recheck,
  reviewRequested,
  needsSecondPerson: ({ app, workspace }, reviewed) =>
    needsApproval(workspace.settings.grants, grantedDays(app.now(), reviewed)),
  call: (client, projectId, { state, appUserId, target, requestedEndMs }) =>
    state === 'revoking'
      ? // 404 has three meanings (nothing granted, unknown customer, wrong path): reading back decides.
        nullOn('revenuecat_not_found', client.revokeEntitlement(projectId, appUserId, target))
      : client.grantEntitlement(projectId, appUserId, { entitlementId: target, expiresAtMs: requestedEndMs }),
  readBack,
};

async function prepare(context: ActionContext, form: GrantForm): Promise<ReviewedGrant> {
  const { workspace, customer } = context;
  const entitlements = await readEntitlements(context.app, context.customer.project);
  const entitlement = findEntitlement(entitlements, form.entitlement);
  const customEndMs = form.end ? parseEndDate(form.end, workspace.timezone) : null;
  if (entitlements.length === 0) throw invalid('noEntitlements');
  if (!entitlement) throw invalid('chooseEntitlement');
  if (form.end && customEndMs === null) throw invalid('endInvalid');
  if (!form.end && !isDuration(form.duration)) throw invalid('chooseDuration');
  const access = await readOrStoredAccess(context);
  const isCustom = customEndMs !== null;
  const reviewed = withAccess(
    context,
    {
      kind: 'grant',
      key: randomUUID(),
      subscriberId: customer.subscriber.subscriberId,
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
  if (isCustom && requestedEndMs >= LIFETIME_END_MS) throw invalid('endTooFar');
  checkTerms(context, reviewed);
  return reviewed;
}

function checkTerms({ app, workspace }: ActionContext, reviewed: ReviewedGrant): void {
  throwRefusal(checkLength(workspace.settings.grants, grantedDays(app.now(), reviewed)));
}

async function recheck(context: ActionContext, reviewed: ReviewedGrant): Promise<ReviewedGrant> {
  checkTerms(context, reviewed);
  const entitlements = await readEntitlements(context.app, context.customer.project);
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
  const again = withAccess(context, reviewed, access);
  if (again.requestedEndMs <= nowMs) throw invalid('endPast');
  throw outdated(hasChanged ? 'changed' : 'stale', again);
}

/** Of the access that a review shows: a canvas holds 64 KB. */
const MAX_ITEMS = 50;
const MAX_NAME_LENGTH = 100;

/**
 * The grant with its ends by this access. A duration counts from now: a month requested on Monday and approved on Friday
 * is a month.
 */
function withAccess(
  context: ActionContext,
  grant: Omit<ReviewedGrant, 'previousEndMs' | 'boughtEndMs' | 'access' | 'reviewedAtMs'>,
  access: Access,
): ReviewedGrant {
  const nowMs = context.app.now();
  const { duration, start, target, lookupKey } = grant;
  const ends = endsOf(access, { id: target, lookupKey });
  const shown = access.items.slice(0, MAX_ITEMS);
  const items = shown.map(({ name, endMs }) => ({ name: clip(name, MAX_NAME_LENGTH), endMs }));
  return {
    ...grant,
    requestedEndMs:
      duration === 'custom' ? grant.requestedEndMs : endOfGrant(nowMs, { duration, start }, ends),
    previousEndMs: ends.grantEndMs,
    boughtEndMs: ends.boughtEndMs,
    access: { items, isStored: access.isStored },
    reviewedAtMs: nowMs,
  };
}

async function reviewRequested(context: ActionContext, grant: Grant): Promise<ReviewedGrant> {
  return withAccess(context, { ...grant, key: grant.actionId }, await readShownAccess(context));
}

async function readBack(client: RevenueCatClient, projectId: string, grant: Grant): Promise<ReadBackResult> {
  const currentMs = await readGrantEnd(client, projectId, grant);
  if (grant.state === 'revoking')
    return currentMs === null ? { kind: 'done', changes: {} } : { kind: 'missing' };
  if (currentMs === null) return { kind: 'missing' };
  const found = compareReadBack(grant, currentMs);
  if (found !== 'missing')
    return { kind: 'done', changes: { actualEndMs: currentMs, isUnchanged: found === 'unchanged' } };
  // RevenueCat accepted the grant and what was there before has stayed.
  return { kind: 'missing', ignored: { actualEndMs: currentMs, isUnchanged: true } };
}

/** End of what RevenueCat grants of the entitlement now; `null`: nothing. */
export async function readGrantEnd(
  client: RevenueCatClient,
  projectId: string,
  grant: Grant,
): Promise<number | null> {
  const access = await nullOn('revenuecat_not_found', readAccess(client, projectId, grant));
  return access && endsOf(access, { id: grant.target, lookupKey: grant.lookupKey }).grantEndMs;
}
