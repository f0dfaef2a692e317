import type { Customer, Visit } from '../../inbox-card/context.ts';
import type { InboxCanvas } from '../../intercom/canvas.ts';
import { approvalView, approve, decline } from './approval.ts';
import { grantConfirm } from './confirm.ts';
import { filledBefore, filledIn, grantForm } from './form.ts';
import { findGrant, goneGrant, grantsList } from './list.ts';
import { grantResult } from './result.ts';
import { grantReview } from './review.ts';
import { revokeConfirm, revokeReview } from './revoke.ts';

/** The view that a component of granting leads to; `null`: the id is none of these. */
export async function grantCanvas(visit: Visit, customer: Customer, id: string): Promise<InboxCanvas | null> {
  switch (id) {
    case 'grant':
      return grantForm(visit, customer, { isAdded: false, page: -1 });
    case 'grant.change':
      return grantForm(visit, customer, { ...filledBefore(visit), page: -1 });
    case 'grant.review':
      return grantReview(visit, customer, filledIn(visit));
    case 'grant.add':
      return grantReview(visit, customer, { ...filledBefore(visit), isAdded: true });
    case 'grant.confirm':
      return grantConfirm(visit, customer);
    case 'grant.approve':
      return approve(visit, customer);
    case 'grant.decline':
    case 'grant.withdraw':
      return decline(visit, customer);
    case 'grants':
      return grantsList(visit, customer);
    case 'grants:older':
      return grantsList(visit, customer, 'older');
    case 'grants:newer':
      return grantsList(visit, customer, 'newer');
    case 'revoke.confirm':
      return revokeConfirm(visit, customer);
    default:
  }
  const [kind, value] = split(id);
  switch (kind) {
    case 'grant.page':
      return grantForm(visit, customer, { ...filledIn(visit), page: Number(value) });
    case 'grant':
      return grantView(visit, customer, value);
    case 'extend':
      return extendForm(visit, customer, value);
    case 'revoke':
      return revokeReview(visit, customer, value);
    default:
      return null;
  }
}

function split(id: string): readonly [kind: string, value: string] {
  const colon = id.indexOf(':');
  return colon < 0 ? [id, ''] : [id.slice(0, colon), id.slice(colon + 1)];
}

async function grantView(visit: Visit, customer: Customer, grantId: string): Promise<InboxCanvas> {
  const grant = await findGrant(visit, customer, grantId);
  if (!grant) return goneGrant(visit);
  return grant.state === 'awaiting_approval'
    ? approvalView(visit, customer, grant)
    : grantResult(visit, customer, grant);
}

/** The form, for more of what was granted: the duration is added to what is left. */
async function extendForm(visit: Visit, customer: Customer, grantId: string): Promise<InboxCanvas> {
  const grant = await findGrant(visit, customer, grantId);
  if (!grant) return goneGrant(visit);
  return grantForm(visit, customer, { entitlement: grant.entitlementId, isAdded: true, page: -1 });
}
