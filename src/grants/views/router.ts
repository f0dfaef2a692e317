import { approvalView, approve, decline } from './approval.ts';
import { grantConfirm } from './confirm.ts';
import type { GrantView, Visit } from './context.ts';
import { filledBefore, filledIn, grantForm } from './form.ts';
import { findGrant, goneGrant, grantsList } from './list.ts';
import { grantResult } from './result.ts';
import { grantReview } from './review.ts';
import { revokeConfirm, revokeReview } from './revoke.ts';

const reads = (render: GrantView['render']): GrantView => ({ readOnly: true, render });
const changes = (render: GrantView['render']): GrantView => ({ readOnly: false, render });

/** The views of grants by component id; an id that ends with a colon is a prefix. The inbox card adds them to its own. */
export const GRANT_VIEWS: Readonly<Record<string, GrantView>> = {
  grant: changes((context) => grantForm(context, context.customer, { isAdded: false, page: -1 })),
  'grant:': reads(grantView),
  'grant.page:': changes((context, page) =>
    grantForm(context, context.customer, { ...filledIn(context), page: Number(page) }),
  ),
  'grant.change': changes((context) =>
    grantForm(context, context.customer, { ...filledBefore(context), page: -1 }),
  ),
  'grant.review': changes((context) => grantReview(context, context.customer, filledIn(context))),
  'grant.add': changes((context) =>
    grantReview(context, context.customer, { ...filledBefore(context), isAdded: true }),
  ),
  'grant.confirm': changes((context) => grantConfirm(context, context.customer)),
  'grant.approve': changes((context) => approve(context, context.customer)),
  'grant.decline': changes((context) => decline(context, context.customer)),
  'grant.withdraw': changes((context) => decline(context, context.customer)),
  grants: reads((context) => grantsList(context, context.customer)),
  'grants:older': changes((context) => grantsList(context, context.customer, 'older')),
  'grants:newer': changes((context) => grantsList(context, context.customer, 'newer')),
  'extend:': changes(extendForm),
  'revoke:': changes((context, grantId) => revokeReview(context, context.customer, grantId)),
  'revoke.confirm': changes((context) => revokeConfirm(context, context.customer)),
};

async function grantView(context: Visit, grantId: string) {
  const grant = await findGrant(context, context.customer, grantId);
  if (!grant) return goneGrant(context);
  return grant.state === 'awaiting_approval'
    ? approvalView(context, context.customer, grant)
    : grantResult(context, context.customer, grant);
}

/** The form, for more of what was granted: the duration is added to what is left. */
async function extendForm(context: Visit, grantId: string) {
  const grant = await findGrant(context, context.customer, grantId);
  if (!grant) return goneGrant(context);
  return grantForm(context, context.customer, { entitlement: grant.entitlementId, isAdded: true, page: -1 });
}
