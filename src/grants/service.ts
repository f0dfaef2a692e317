import { productOf } from '../subscription/names.ts';
import { listEntitlements, readShownAccess } from './access.ts';
import { type Action, type ActionResult, isActiveGrant, nameOf } from './action.ts';
import { auditRefusal, factsOf } from './action-audit.ts';
import { ActionError, failed, orActionError, refused, throwRefusal } from './action-error.ts';
import { callAndConfirm } from './confirmation.ts';
import type { ActionContext } from './context.ts';
import { isDashboardGrant, listDashboardGrants } from './dashboard-grants.ts';
import type { Form, GrantForm, Reviewed } from './form-state.ts';
import { computeReviewedGrant, findEntitlement, prepareGrant, recheckGrant } from './grant.ts';
import {
  type CheckedAction,
  checkReason,
  checkTeammate,
  findRefusal,
  findRefusalExceptLimit,
  isReasonRequired,
  needsSecondPerson,
  policyOf,
} from './policy.ts';
import { findPurchase, targetTypeOf } from './purchases.ts';
import { adoptGrant, findAdopted, findByKey, readAction, readAgain, readLastChange } from './repository.ts';
import { prepareStoreAction, recheckStoreAction } from './store-actions.ts';
import { requestAction, transition } from './transitions.ts';

/** Checks the form and computes exactly what the action would do. Nothing is called. */
export async function reviewAction(context: ActionContext, submitted: Form): Promise<Reviewed> {
  // An order ID in the form of a transfer makes it a restore.
  const isRestore = submitted.kind === 'transfer' && submitted.order;
  const form: Form = isRestore ? { ...submitted, kind: 'restore' } : submitted;
  const { kind, reason = '' } = form;
  const purchase = findPurchase(context, form.subscription);
  const product = purchase && productOf(purchase, context.customer.names);
  const typed = form.kind === 'grant' ? await typedTerms(context, form) : { product };
  return auditRefusal(context, { kind, step: 'do', details: { ...typed, reason } }, async () => {
    await checkAllowed(context, { kind, details: { targetType: targetTypeOf(context, form) }, reason });
    return form.kind === 'grant' ? prepareGrant(context, form) : prepareStoreAction(context, form);
  });
}

/** What the audit log records of a refused grant: the entitlement's lookup key, not RevenueCat's id. */
async function typedTerms({ app, customer }: ActionContext, form: GrantForm) {
  const { entitlement = null, duration, end } = form;
  const entitlements = await listEntitlements(app.database, customer.project);
  const found = findEntitlement(customer, entitlements, form.entitlement);
  return { entitlement: found?.lookupKey ?? entitlement, duration: end ? `until ${end}` : duration };
}

async function checkAllowed(
  context: ActionContext,
  action: CheckedAction & { readonly reason: string },
): Promise<void> {
  const isRequired = isReasonRequired(context.workspace.settings, action.kind);
  throwRefusal((await findRefusal(context, action)) ?? checkReason(isRequired, action.reason));
}

/**
 * Does what was reviewed. It is stored under the review's key first, so a second confirm gets the first one's
 * result. When RevenueCat does not respond the action stays `requested` and is confirmed in the background by
 * reading; RevenueCat is never called a second time.
 */
export async function performReviewed(context: ActionContext, reviewed: Reviewed): Promise<ActionResult> {
  const { kind, reason } = reviewed;
  const details = { ...factsOf(reviewed), reason };
  return auditRefusal(context, { kind, step: 'do', details }, async () => {
    const earlier = await findEarlier(context, reviewed);
    if (earlier) return earlier;
    const done = await orActionError(checkAndCall(context, reviewed));
    if (!(done instanceof ActionError)) return done;
    // A concurrent click on the same button may have used up the monthly limit, or changed what was reviewed.
    const concurrent = await findEarlier(context, reviewed);
    if (concurrent) return concurrent;
    throw done;
  });
}

/** The action of an earlier confirm of this review, done or in progress. */
export async function findEarlier(
  { app, workspace }: ActionContext,
  { key }: Reviewed,
): Promise<ActionResult | null> {
  const action = await findByKey(app.database, workspace.workspaceId, key);
  return action && { action, isRepeated: true };
}

/** Checks what was reviewed against the policy and what RevenueCat has now. @throws ActionError */
function recheck(context: ActionContext, reviewed: Reviewed): Promise<Reviewed> {
  return reviewed.kind === 'grant' ? recheckGrant(context, reviewed) : recheckStoreAction(context, reviewed);
}

async function checkAndCall(context: ActionContext, reviewed: Reviewed): Promise<ActionResult> {
  const { app, workspace, customer } = context;
  const { admin, conversationId, contact } = context.request;
  const { workspaceId, settings } = workspace;
  const { project } = customer;
  const lastChange = await readLastChange(app.database, { ...reviewed, workspaceId });
  await checkAllowed(context, reviewed);
  const checked = await recheck(context, reviewed);
  const isApprovalNeeded = needsSecondPerson(context, checked);
  const stored = await requestAction(
    app,
    {
      ...checked,
      workspaceId,
      projectId: project.projectId,
      state: isApprovalNeeded ? 'awaiting_approval' : 'requested',
      idempotencyKey: checked.key,
      admin,
      conversationId,
      contactId: contact.id || null,
    },
    { monthlyLimit: policyOf(settings, checked.kind).monthlyPerAdmin, lastChange },
  );
  // A concurrent action has changed what was read: check again.
  if (!stored) return checkAndCall(context, reviewed);
  if (stored.isRepeated || isApprovalNeeded) return stored;
  return callAndConfirm(app, project, stored.action);
}

/** Does what another teammate requested, as it was shown. If several approve at the same time, it is done once. */
export async function approveAction(
  context: ActionContext,
  action: Action,
  shown: Reviewed | undefined,
): Promise<ActionResult> {
  const { app, customer } = context;
  const { admin, conversationId } = context.request;
  if (action.state !== 'awaiting_approval') return { action, isRepeated: true };
  const lastChange = await readLastChange(app.database, action);
  const reviewed = await auditDecision(context, { step: 'approve', action }, () =>
    checkApproval(context, action, shown),
  );
  const ends =
    reviewed.kind === 'grant'
      ? { requestedEndMs: reviewed.requestedEndMs, previousEndMs: reviewed.previousEndMs }
      : {};
  const moved = await transition(app, action, {
    event: 'approve',
    decidedBy: admin,
    ...ends,
    decidedIn: conversationId,
    lastChange,
  });
  // Another teammate was faster, or what was read has changed: start again.
  if (!moved) return approveAction(context, await readAgain(app.database, action), shown);
  return callAndConfirm(app, customer.project, moved);
}

/** What a waiting request would do if it were approved now. The key of the review is the action's id. */
export async function reviewRequested(context: ActionContext, action: Action): Promise<Reviewed> {
  const key = action.actionId;
  if (action.kind !== 'grant') return { ...action, key, reviewedAtMs: context.app.now() };
  return computeReviewedGrant(context, { ...action, key }, await readShownAccess(context));
}

async function checkApproval(
  context: ActionContext,
  action: Action,
  shown: Reviewed | undefined,
): Promise<Reviewed> {
  const { kind, admin, reason } = action;
  const { settings } = context.workspace;
  if (admin.id === context.request.admin.id) throw refused('same_person');
  const isRequesterRefused = checkTeammate(policyOf(settings, kind), admin.id) !== null;
  throwRefusal(
    findRefusalExceptLimit(context, action) ??
      (isRequesterRefused ? refused('requester_not_allowed') : null) ??
      checkReason(isReasonRequired(settings, kind), reason),
  );
  if (!shown) throw failed('stale');
  const checked = await orActionError(recheck(context, shown));
  if (!(checked instanceof ActionError)) return checked;
  // The request is shown again, with what its approval would do now.
  throw checked.kind === 'outdated' ? failed(checked.code) : checked;
}

function auditDecision<T>(
  context: ActionContext,
  { step, action }: { readonly step: 'approve' | 'decline'; readonly action: Action },
  work: () => Promise<T>,
): Promise<T> {
  const { kind, actionId, reason, admin } = action;
  const details = { action_id: actionId, ...factsOf(action), reason, requested_by: nameOf(admin) };
  return auditRefusal(context, { kind, step, details }, work);
}

/** Declines what another teammate requested, or withdraws one's own request. */
export async function declineAction(context: ActionContext, action: Action): Promise<ActionResult> {
  const { app, workspace } = context;
  const { admin, conversationId } = context.request;
  const isOwn = action.admin.id === admin.id;
  if (!isOwn)
    await auditDecision(context, { step: 'decline', action }, async () =>
      throwRefusal(checkTeammate(policyOf(workspace.settings, action.kind), admin.id)),
    );
  const moved = isOwn
    ? await transition(app, action, { event: 'withdraw', decidedIn: conversationId })
    : await transition(app, action, { event: 'decline', decidedBy: admin, decidedIn: conversationId });
  return { action: moved ?? (await readAgain(app.database, action)), isRepeated: moved === null };
}

/** Removes all grants of an entitlement; store subscriptions stay. A second click finds that the removal has begun. */
export async function revokeGrant(
  context: ActionContext,
  shown: Action,
  reason: string,
): Promise<ActionResult> {
  const { app, customer, workspace } = context;
  const { admin, conversationId } = context.request;
  const { kind, actionId } = shown;
  const details = { action_id: actionId, ...factsOf(shown) };
  let grant = shown;
  const moved = await auditRefusal(context, { kind, step: 'revoke', details }, async () => {
    throwRefusal(checkTeammate(workspace.settings.grants, admin.id));
    if (!isActiveGrant(shown, app.now())) return null;
    if (isDashboardGrant(actionId)) grant = await adoptGrant(app.database, shown);
    return transition(app, grant, {
      event: 'revoke',
      revokedBy: admin,
      revokeReason: reason,
      // RevenueCat may confirm the removal much later. The note belongs in the conversation where the agent clicked.
      conversationId: conversationId ?? grant.conversationId,
    });
  });
  if (!moved) return { action: await readAgain(app.database, grant), isRepeated: true };
  const done = await callAndConfirm(app, customer.project, moved);
  if (done.action.state === 'confirmed') throw failed(done.action.error ?? '');
  return done;
}

/** `null`: the action is not this customer's. */
export async function findAction(context: ActionContext, actionId: string): Promise<Action | null> {
  const { app, customer } = context;
  const { workspaceId } = context.workspace;
  const { subscriberId } = customer;
  if (isDashboardGrant(actionId)) {
    const grants = await listDashboardGrants(context);
    const shown = grants.find((grant) => grant.actionId === actionId);
    // The grant is stored when its removal begins, so a second click finds that removal here.
    return shown ?? findAdopted(app.database, { workspaceId, subscriberId, actionId });
  }
  const action = await readAction(app.database, { workspaceId, actionId });
  return action?.subscriberId === subscriberId ? action : null;
}
