import type { SubscriptionState } from '../subscription/types.ts';
import { type Entitlement, entitlementName, listEntitlements } from './access.ts';
import { type Grant, grantEndMs, REVENUECAT } from './action.ts';
import type { ActionContext } from './context.ts';
import { endOrForever, isSameEnd } from './durations.ts';

/** Id prefix of grants that were made in RevenueCat's dashboard or by another system, and are not stored here. */
const PREFIX = 'revenuecat/';

export function isDashboardGrant(actionId: string): boolean {
  return actionId.startsWith(PREFIX);
}

/** Running grants of the customer that were not made here. They can be extended and removed like ours. */
export async function listDashboardGrants(context: ActionContext): Promise<Grant[]> {
  const { app, customer } = context;
  // Of several grants of one entitlement, the one that ends last counts.
  const running = customer.state.grants
    .filter((each) => each.givesAccess)
    .sort((a, b) => endOrForever(b.endsAtMs) - endOrForever(a.endsAtMs));
  if (running.length === 0) return [];
  const entitlements = await listEntitlements(app.database, customer.project);
  return entitlements.flatMap((entitlement) => {
    const subscription = running.find((each) => each.entitlements.includes(entitlement.lookupKey));
    const isOurs = customer.grantActions.some(
      (grant) =>
        ['confirmed', 'revoking'].includes(grant.state) &&
        grant.target === entitlement.id &&
        isSameEnd(grantEndMs(grant), endOrForever(subscription?.endsAtMs ?? null)),
    );
    return subscription && !isOurs ? [grantOf(context, entitlement, subscription)] : [];
  });
}

function grantOf(context: ActionContext, entitlement: Entitlement, subscription: SubscriptionState): Grant {
  const { workspace, customer } = context;
  const endMs = endOrForever(subscription.endsAtMs);
  const startMs = subscription.startedAtMs ?? context.app.now();
  return {
    kind: 'grant',
    actionId: `${PREFIX}${entitlement.lookupKey}`,
    workspaceId: workspace.workspaceId,
    projectId: customer.project.projectId,
    subscriberId: customer.subscriberId,
    appUserId: customer.appUserId,
    reason: '',
    admin: REVENUECAT,
    decidedBy: null,
    conversationId: null,
    contactId: null,
    state: 'confirmed',
    error: null,
    createdAtMs: startMs,
    calledAtMs: startMs,
    isAnswered: true,
    target: entitlement.id,
    lookupKey: entitlement.lookupKey,
    entitlementName: entitlementName(customer, entitlement),
    duration: 'custom',
    start: 'now',
    requestedEndMs: endMs,
    previousEndMs: null,
    actualEndMs: endMs,
    isUnchanged: false,
    revokedBy: null,
    revokeReason: null,
    revokeCalledAtMs: null,
    revokedAtMs: null,
  };
}
