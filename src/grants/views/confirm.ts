import { setTimeout as sleep } from 'node:timers/promises';
import { button, type InboxCanvas, text } from '../../intercom/canvas.ts';
import { withTimeout } from '../../time.ts';
import { isSameEnd } from '../ends.ts';
import { makeGrant } from '../make.ts';
import { checkPolicy, lengthOf, needsApproval } from '../policy.ts';
import { findByKey, readGrant, type Stored } from '../store.ts';
import type { Grant } from '../types.ts';
import { entitlementName, readAccessNow, readEntitlements, storedAccess } from './access.ts';
import { type Customer, page, type Visit } from './context.ts';
import { filledBefore, grantForm, standsInTheWay } from './form.ts';
import type { ReviewedGrant } from './form-state.ts';
import { grantResult } from './result.ts';
import { endOfChosen, lengthFields, reviewCanvas } from './review.ts';
import { auditRefusal, failureText, refusalText, wordsOf } from './said.ts';

/** What was reviewed longer ago is looked at again, ms. */
const REVIEW_LASTS_MS = 30 * 60_000;
/** How long the agent waits for RevenueCat's word after the button, ms; then it settles behind the card. */
const ANSWER_WITHIN_MS = 3_800;
/** A first press longer ago is not at work any more, ms. */
const FIRST_PRESS_MS = 10_000;

/** Makes the grant that was reviewed; pressed twice, shows the first one's result. */
export async function grantConfirm(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { services: context, request, formState, workspace } = visit;
  const words = wordsOf(visit);
  const deadlineMs = Date.now() + ANSWER_WITHIN_MS;
  const reviewed = formState.grant;
  if (!reviewed || reviewed.subscriberId !== customer.subscriber.subscriberId) {
    return page(visit, [
      text(words.states.tampered, 'error'),
      button('grant', words.buttons.grant, 'secondary'),
    ]);
  }
  const { workspaceId } = request;
  const earlier = await findByKey(context.database, workspaceId, reviewed.key);
  if (earlier) return grantResult(visit, customer, await settled(visit, earlier, deadlineMs));

  const inTheWay = await standsInTheWay(visit, customer);
  if (inTheWay) {
    // What has used up the month may be this very grant, from a first press of the button.
    const made = await findByKey(context.database, workspaceId, reviewed.key);
    if (made) return grantResult(visit, customer, await settled(visit, made, deadlineMs));
    await auditRefusal(visit, customer, 'grant', inTheWay.why, about(reviewed));
    return page(visit, inTheWay.components);
  }
  const nowMs = context.now();
  const policy = workspace.settings.grants;
  const days = lengthOf({ ...lengthFields(reviewed), endMs: reviewed.endMs }, nowMs);
  const refusal = checkPolicy(policy, { adminId: request.admin.id, days, reason: reviewed.reason });
  if (refusal) {
    await auditRefusal(visit, customer, 'grant', refusal.code, about(reviewed));
    return grantForm(visit, customer, filledBefore(visit), { text: refusalText(visit, refusal) });
  }
  const entitlements = await readEntitlements(visit, customer);
  const entitlement = entitlements.find(({ id }) => id === reviewed.entitlementId);
  if (!entitlement) {
    const { failures } = words;
    return entitlements.length === 0
      ? reviewCanvas(visit, customer, entitlements, storedAccess(customer), reviewed, failures.away)
      : grantForm(visit, customer, filledBefore(visit), { text: failures.entitlementGone });
  }

  const read = await readAccessNow(visit, customer, entitlements);
  if (read.kind !== 'read') {
    const why = read.kind === 'failed' ? read.code : read.kind;
    await auditRefusal(visit, customer, 'grant', why, about(reviewed));
    // Nothing was asked: the same button may be pressed again.
    const sentence = failureText(visit, why);
    return reviewCanvas(visit, customer, entitlements, storedAccess(customer), reviewed, sentence);
  }
  const { access } = read;
  const ends = access.endsOf(entitlement);
  const hasChanged =
    !isSameEnd(ends.grantEndMs, reviewed.grantEndMs) || !isSameEnd(ends.boughtEndMs, reviewed.boughtEndMs);
  if (hasChanged || nowMs - reviewed.reviewedAtMs > REVIEW_LASTS_MS || reviewed.endMs <= nowMs) {
    // What has changed it may be this very grant, from a first press of the button.
    const made = await findByKey(context.database, workspaceId, reviewed.key);
    if (made) return grantResult(visit, customer, await settled(visit, made, deadlineMs));
    const endMs =
      reviewed.duration === 'custom' ? reviewed.endMs : endOfChosen(nowMs, reviewed, ends.grantEndMs);
    if (endMs <= nowMs) {
      return grantForm(visit, customer, filledBefore(visit), { text: words.refusals.endPast, field: 'end' });
    }
    return reviewCanvas(
      visit,
      customer,
      entitlements,
      access,
      {
        ...reviewed,
        endMs,
        grantEndMs: ends.grantEndMs,
        boughtEndMs: ends.boughtEndMs,
        reviewedAtMs: nowMs,
      },
      hasChanged ? words.states.changed : words.states.stale,
    );
  }
  const making = makeGrant(
    context,
    customer.project,
    {
      workspaceId,
      projectId: customer.project.projectId,
      subscriberId: reviewed.subscriberId,
      appUserId: access.appUserId,
      entitlementId: entitlement.id,
      lookupKey: entitlement.lookupKey,
      entitlementName: entitlementName(customer, entitlement),
      duration: reviewed.duration,
      askedEndMs: reviewed.endMs,
      beforeEndMs: ends.grantEndMs,
      reason: reviewed.reason,
      idempotencyKey: reviewed.key,
      admin: request.admin,
      conversationId: request.conversationId,
      contactId: request.contact.id || null,
    },
    { monthlyLimit: policy.monthlyPerAdmin, needsApproval: needsApproval(policy, days) },
  );
  const stored = await storedBy(visit, making, reviewed.key, deadlineMs);
  switch (stored?.kind) {
    case 'new':
      return grantResult(visit, customer, stored.grant, { isFresh: true });
    case 'known':
      return grantResult(visit, customer, await settled(visit, stored.grant, deadlineMs), { isFresh: true });
    case 'monthly_limit': {
      await auditRefusal(visit, customer, 'grant', 'monthly_limit', about(reviewed));
      const limit = policy.monthlyPerAdmin ?? 0;
      return page(visit, [text(refusalText(visit, { code: 'monthly_limit', limit }), 'error')]);
    }
    case 'unsettled': {
      await auditRefusal(visit, customer, 'grant', 'unsettled', about(reviewed));
      return page(visit, [
        text(words.refusals.unsettled, 'error'),
        button('grants', words.buttons.grants, 'secondary'),
      ]);
    }
    case undefined:
      return page(visit, [
        text(words.states.pending, 'muted'),
        button('grants', words.buttons.grants, 'secondary'),
      ]);
  }
}

function about(reviewed: ReviewedGrant): Readonly<Record<string, unknown>> {
  const { entitlementId, duration, reason, endMs } = reviewed;
  return { entitlement: entitlementId, duration, reason, asked_end: new Date(endMs).toISOString() };
}

/** What the making has come to when the agent has waited long enough; it goes on behind. */
async function storedBy(
  visit: Visit,
  making: Promise<Stored>,
  key: string,
  deadlineMs: number,
): Promise<Stored | undefined> {
  const { services: context, request } = visit;
  const late = await within(making, deadlineMs);
  if (late.done) return late.value;
  making.catch((error: unknown) =>
    context.logger.error({ err: error, workspaceId: request.workspaceId }, 'grant failed behind the card'),
  );
  const grant = await findByKey(context.database, request.workspaceId, key);
  return grant ? { kind: 'new', grant } : undefined;
}

/** The result of some work, unless it takes longer than until a moment (epoch ms). */
export async function within<T>(
  work: Promise<T>,
  deadlineMs: number,
): Promise<{ done: true; value: T } | { done: false }> {
  const done = work.then((value) => ({ done: true, value }) as const);
  return withTimeout(done, Math.max(0, deadlineMs - Date.now()), () => ({ done: false }) as const);
}

/** A first press of the same button may still be at work: its result is worth a moment. */
export async function settled(visit: Visit, grant: Grant, deadlineMs: number): Promise<Grant> {
  let now: Grant = grant;
  const pressedAtMs = grant.revokeAskedAtMs ?? grant.askedAtMs ?? grant.createdAtMs;
  if (visit.services.now() - pressedAtMs > FIRST_PRESS_MS) return now;
  while ((now.state === 'requested' || now.state === 'revoking') && Date.now() < deadlineMs) {
    await sleep(150);
    now = (await readGrant(visit.services.database, grant.workspaceId, grant.grantId)) ?? now;
  }
  return now;
}
