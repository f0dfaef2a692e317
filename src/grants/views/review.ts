import { randomUUID } from 'node:crypto';
import { button, type Component, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { withoutEffect } from '../access.ts';
import { endOfDuration, isDuration, LIFETIME_END_MS } from '../durations.ts';
import { parseEndDate } from '../end-date.ts';
import { isForever } from '../ends.ts';
import type { Entitlement } from '../entitlements.ts';
import { checkPolicy, lengthOf, needsApproval, type Refusal } from '../policy.ts';
import {
  type AccessNow,
  entitlementName,
  isAnonymousOnly,
  readAccessNow,
  readEntitlements,
  storedAccess,
} from './access.ts';
import { type Customer, page, type Visit } from './context.ts';
import { type Filled, findEntitlement, grantForm, type Problem, standsInTheWay } from './form.ts';
import type { ReviewedGrant } from './form-state.ts';
import { accessText, auditRefusal, exactEnd, failureText, refusalText, shownName, wordsOf } from './said.ts';

/** What was typed, checked and made exact. */
interface Wanted {
  readonly entitlement: Entitlement;
  readonly duration: ReviewedGrant['duration'];
  readonly end: string;
  readonly reason: string;
  readonly isAdded: boolean;
}

type Read = { readonly wanted: Wanted } | { readonly problem: Problem; readonly why: string };

/** Says exactly what will happen, and gives the confirm button a key that works once. */
export async function grantReview(visit: Visit, customer: Customer, filled: Filled): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const inTheWay = await standsInTheWay(visit, customer);
  if (inTheWay) {
    await auditRefusal(visit, customer, 'grant', inTheWay.why, typed(filled));
    return page(visit, inTheWay.components);
  }
  const entitlements = await readEntitlements(visit, customer);
  const read = readForm(visit, entitlements, filled);
  if ('problem' in read) return grantForm(visit, customer, filled, read.problem);
  const { wanted } = read;
  const access = await accessFor(visit, customer, entitlements);
  if ('refused' in access) {
    await auditRefusal(visit, customer, 'grant', access.refused, typed(filled));
    return page(visit, [
      text(failureText(visit, access.refused), 'error'),
      button('grant', words.buttons.again, 'secondary'),
    ]);
  }
  const ends = access.endsOf(wanted.entitlement);
  const endMs = endOf(visit, wanted, ends.grantEndMs);
  const problem = endProblem(visit, endMs, wanted);
  if (problem) return grantForm(visit, customer, filled, problem);
  const { nowMs, adminId } = { nowMs: visit.services.now(), adminId: visit.request.admin.id };
  const days = lengthOf({ ...lengthFields(wanted), endMs }, nowMs);
  const refusal = checkPolicy(visit.workspace.settings.grants, { adminId, days, reason: wanted.reason });
  if (refusal) {
    await auditRefusal(visit, customer, 'grant', refusal.code, {
      ...typed(filled),
      entitlement: wanted.entitlement.lookupKey,
      asked_end: new Date(endMs).toISOString(),
    });
    return grantForm(visit, customer, filled, {
      text: refusalText(visit, refusal),
      ...fieldOf(refusal, wanted),
    });
  }
  return reviewCanvas(visit, customer, entitlements, access, {
    key: randomUUID(),
    subscriberId: customer.subscriber.subscriberId,
    appUserId: access.appUserId,
    entitlementId: wanted.entitlement.id,
    duration: wanted.duration,
    end: wanted.end,
    reason: wanted.reason,
    isAdded: wanted.isAdded,
    endMs,
    grantEndMs: ends.grantEndMs,
    boughtEndMs: ends.boughtEndMs,
    reviewedAtMs: nowMs,
  });
}

function typed(filled: Filled): Readonly<Record<string, unknown>> {
  return {
    entitlement: filled.entitlement ?? null,
    duration: filled.end ? `until ${filled.end}` : (filled.duration ?? null),
    reason: filled.reason ?? '',
  };
}

export function lengthFields(wanted: Pick<ReviewedGrant, 'duration' | 'isAdded'>): {
  duration: Parameters<typeof lengthOf>[0]['duration'];
  isAdded: boolean;
} {
  const { duration, isAdded } = wanted;
  return { duration: isDuration(duration) ? duration : 'custom', isAdded };
}

function readForm(visit: Visit, entitlements: readonly Entitlement[], filled: Filled): Read {
  const { refusals, states } = wordsOf(visit);
  if (entitlements.length === 0) return { why: 'no_entitlements', problem: { text: states.noEntitlements } };
  const entitlement = findEntitlement(entitlements, filled.entitlement);
  if (!entitlement) return { why: 'no_entitlement', problem: { text: refusals.chooseEntitlement } };
  const end = filled.end ?? '';
  if (end === '' && !isDuration(filled.duration)) {
    return { why: 'no_duration', problem: { text: refusals.chooseDuration } };
  }
  if (end !== '' && parseEndDate(end, visit.workspace.timezone) === null) {
    return { why: 'end_invalid', problem: { text: refusals.endInvalid, field: 'end' } };
  }
  return {
    wanted: {
      entitlement,
      duration: end === '' ? (filled.duration ?? '') : 'custom',
      end,
      reason: filled.reason ?? '',
      isAdded: filled.isAdded && end === '',
    },
  };
}

/** RevenueCat's word, or the stored one where it does not answer; a reason where there can be no grant. */
async function accessFor(
  visit: Visit,
  customer: Customer,
  entitlements: readonly Entitlement[],
): Promise<AccessNow | { refused: string }> {
  const read = await readAccessNow(visit, customer, entitlements);
  if (read.kind === 'read') return read.access;
  if (read.kind === 'unknown_customer') return { refused: 'unknown_customer' };
  const isAway = read.code === 'revenuecat_unavailable' || read.code === 'revenuecat_rate_limited';
  return isAway ? storedAccess(customer) : { refused: read.code };
}

function endOf(visit: Visit, wanted: Wanted, grantEndMs: number | null): number {
  if (wanted.duration === 'custom') return parseEndDate(wanted.end, visit.workspace.timezone) ?? 0;
  return endOfChosen(visit.services.now(), wanted, grantEndMs);
}

/** The end of a chosen duration, counted from now or from the end of what is granted. */
export function endOfChosen(
  nowMs: number,
  chosen: Pick<ReviewedGrant, 'duration' | 'isAdded'>,
  grantEndMs: number | null,
): number {
  if (!isDuration(chosen.duration)) return 0;
  const isRunning = grantEndMs !== null && grantEndMs > nowMs && !isForever(grantEndMs);
  return endOfDuration(chosen.duration, chosen.isAdded && isRunning ? grantEndMs : nowMs);
}

function endProblem(visit: Visit, endMs: number, wanted: Wanted): Problem | null {
  const { refusals } = wordsOf(visit);
  if (endMs <= visit.services.now()) return { text: refusals.endPast, field: 'end' };
  if (wanted.duration === 'custom' && endMs >= LIFETIME_END_MS)
    return { text: refusals.endTooFar, field: 'end' };
  return null;
}

function fieldOf(refusal: Refusal, wanted: Wanted): Pick<Problem, 'field'> {
  if (refusal.code === 'reason_missing' || refusal.code === 'reason_too_long') return { field: 'reason' };
  return refusal.code === 'too_long' && wanted.duration === 'custom' ? { field: 'end' } : {};
}

/** What the customer has now, exactly what they will get, and what should be known before. */
export function reviewCanvas(
  visit: Visit,
  customer: Customer,
  entitlements: readonly Entitlement[],
  access: AccessNow,
  reviewed: ReviewedGrant,
  problem?: string,
): InboxCanvas {
  const words = wordsOf(visit);
  const policy = visit.workspace.settings.grants;
  const entitlement = entitlements.find(({ id }) => id === reviewed.entitlementId);
  const name = entitlement ? entitlementName(customer, entitlement) : reviewed.entitlementId;
  const days = lengthOf({ ...lengthFields(reviewed), endMs: reviewed.endMs }, visit.services.now());
  const isAsked = needsApproval(policy, days);
  const noEffect = withoutEffect(
    { grantEndMs: reviewed.grantEndMs, boughtEndMs: reviewed.boughtEndMs },
    reviewed.endMs,
  );
  const canAdd = noEffect !== null && noEffect.kind !== 'paid_until_later' && !isForever(noEffect.endMs);
  const components: Component[] = [
    text(words.titles.review, 'header', true),
    ...(problem ? [text(problem, 'error')] : []),
    text(`${words.labels.gets}: **${words.accessUntil(shownName(name), exactEnd(visit, reviewed.endMs))}**`),
    ...table([
      [words.labels.hasNow, accessText(visit, access.has)],
      [words.labels.customer, reviewed.appUserId],
      [words.labels.reason, reviewed.reason],
    ]),
    ...(noEffect ? [text(noEffectText(visit, noEffect), 'error')] : []),
    ...remarks(visit, customer, access).map((remark) => text(remark, 'muted')),
    ...(isAsked ? [text(words.secondPerson(policy.secondPersonAboveDays ?? 0), 'muted')] : []),
    button('grant.confirm', isAsked ? words.buttons.ask : words.buttons.confirm, 'primary'),
    ...(canAdd && isDuration(reviewed.duration) && reviewed.duration !== 'lifetime' && !reviewed.isAdded
      ? [button('grant.add', words.buttons.addToEnd, 'secondary')]
      : []),
    button('grant.change', words.buttons.change, 'secondary'),
  ];
  return page(visit, components, { grant: reviewed });
}

function remarks(visit: Visit, customer: Customer, access: AccessNow): string[] {
  const words = wordsOf(visit);
  const asOfMs = customer.subscriber.snapshotAtMs ?? customer.latest[0]?.atMs;
  return [
    ...(access.isStored ? [words.asOf(visit.messages.dateTime(asOfMs ?? visit.services.now()))] : []),
    ...(access.willRenew ? [words.states.stillPays] : []),
    ...(isAnonymousOnly(customer) ? [words.states.anonymous] : []),
  ];
}

function noEffectText(visit: Visit, noEffect: NonNullable<ReturnType<typeof withoutEffect>>): string {
  const words = wordsOf(visit);
  const end = exactEnd(visit, noEffect.endMs);
  switch (noEffect.kind) {
    case 'same_grant':
      return words.sameGrant(end);
    case 'later_grant':
      return words.laterGrant(end);
    case 'paid_until_later':
      return words.paidUntilLater(end);
  }
}
