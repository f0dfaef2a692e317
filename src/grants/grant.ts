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
  entitlementName,
  findNoEffect,
  readAccess,
  readCurrentAccess,
  readEntitlements,
  readOrStoredAccess,
  shownAccess,
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

/** Days that count for the policy: what the customer paid for is not granted. */
function grantedDays(nowMs: number, terms: Terms): number | null {
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

export const GRANT_HANDLER: ActionHandler<GrantForm, ReviewedGrant, Grant> = {
  prepare,
  recheck,
  reviewRequested,
  needsSecondPerson: ({ services, workspace }, reviewed) =>
    needsApproval(workspace.settings.grants, grantedDays(services.now(), reviewed)),
  call: (client, projectId, { appUserId, target, requestedEndMs }) =>
    client.grantEntitlement(projectId, appUserId, { entitlementId: target, expiresAtMs: requestedEndMs }),
  readBack,
};

async function prepare(context: ActionContext, form: GrantForm): Promise<ReviewedGrant> {
  const { workspace, customer } = context;
  const entitlements = await readEntitlements(context);
  const entitlement = findEntitlement(entitlements, form.entitlement);
  const customEndMs = form.end ? parseEndDate(form.end, workspace.timezone) : null;
  if (entitlements.length === 0) throw invalid('noEntitlements');
  if (!entitlement) throw invalid('chooseEntitlement');
  if (form.end && customEndMs === null) throw invalid('endInvalid');
  if (!form.end && !isDuration(form.duration)) throw invalid('chooseDuration');
  const access = await readOrStoredAccess(context, entitlements);
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
  if (requestedEndMs <= reviewed.reviewedAtMs) throw invalid('endPast');
  if (isCustom && requestedEndMs >= LIFETIME_END_MS) throw invalid('endTooFar');
  checkTerms(context, reviewed);
  return reviewed;
}

function checkTerms({ services, workspace }: ActionContext, reviewed: ReviewedGrant): void {
  throwRefusal(checkLength(workspace.settings.grants, grantedDays(services.now(), reviewed)));
}

async function recheck(context: ActionContext, reviewed: ReviewedGrant): Promise<ReviewedGrant> {
  checkTerms(context, reviewed);
  const entitlements = await readEntitlements(context);
  const entitlement = entitlements.find(({ id }) => id === reviewed.target);
  if (!entitlement)
    throw failed(entitlements.length === 0 ? 'revenuecat_unavailable' : 'revenuecat_not_found');
  const access = await readCurrentAccess(context, entitlements);
  const nowMs = context.services.now();
  const ends = access.endsOf(entitlement);
  const hasChanged =
    !isSameEnd(ends.grantEndMs, reviewed.previousEndMs) || !isSameEnd(ends.boughtEndMs, reviewed.boughtEndMs);
  const isCurrent = nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS && reviewed.requestedEndMs > nowMs;
  if (!hasChanged && isCurrent) {
    if (findNoEffect(ends, reviewed.requestedEndMs)) throw refused({ code: 'no_effect' });
    return { ...reviewed, appUserId: access.appUserId };
  }
  const again = reviewedNow(context, reviewed, access);
  if (again.requestedEndMs <= nowMs) throw invalid('endPast');
  throw outdated(hasChanged ? 'changed' : 'stale', again);
}

/** Of the access that a review shows: a canvas holds 64 KB. */
const MAX_ITEMS = 50;
const MAX_NAME_LENGTH = 100;

function shownItems({ items }: Access): ReviewedGrant['access']['items'] {
  return items.slice(0, MAX_ITEMS).map((item) => ({ ...item, name: clip(item.name, MAX_NAME_LENGTH) }));
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
    access: { items: shownItems(access), isStored: access.isStored },
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
  return reviewedNow(context, requested, await shownAccess(context));
}

async function readBack(client: RevenueCatClient, projectId: string, grant: Grant): Promise<ReadBackResult> {
  const currentMs = await readGrantEnd(client, projectId, grant);
  const { requestedEndMs: requestedMs, previousEndMs: previousMs } = grant;
  const found = compareReadBack({ requestedMs, previousMs, currentMs });
  if (currentMs === null) return { kind: 'missing' };
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
  return access?.endsOf({ id: grant.target, lookupKey: grant.lookupKey }).grantEndMs ?? null;
}
