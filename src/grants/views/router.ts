import { messagesFor } from '../../i18n/messages.ts';
import type { InboxCanvas } from '../../intercom/canvas.ts';
import type { ActionView, ActionViewEntry, CardVisit } from '../context.ts';
import { findPurchase, findStoreAction } from '../store-service.ts';
import { approvalView, approve, declineOrWithdraw, revokeConfirm, revokeReview } from './decisions.ts';
import { grantForm, reviewedForm, submittedForm } from './form.ts';
import { grantConfirm, grantReview } from './grant.ts';
import { grantResult, grantsList, withGrant } from './result.ts';
import { storeConfirm, storeDecision, storeResult, storeReview, withStoreAction } from './store-action.ts';
import { actionForm, newForm, submittedAction, subscriptionPage } from './subscription.ts';

type Render = (view: ActionView, argument: string) => Promise<InboxCanvas>;

function viewOf(visit: CardVisit): ActionView {
  const { services, request, workspace, messages } = visit;
  return {
    context: services,
    workspace,
    customer: visit.customer,
    admin: request.admin,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    inputs: request.inputs,
    formState: visit.formState,
    isOutdated: visit.isOutdated,
    messages,
    customerMessages: messagesFor(request.contact.language ?? messages.language, workspace.timezone),
    page: visit.page,
  };
}

const read = (render: Render): ActionViewEntry => ({
  readOnly: true,
  render: (visit, argument) => render(viewOf(visit), argument),
});
const write = (render: Render): ActionViewEntry => ({ ...read(render), readOnly: false });

/** The views of actions by component id; an id that ends in a colon is a prefix. The inbox card adds them to its own. */
export const ACTION_VIEWS: Readonly<Record<string, ActionViewEntry>> = {
  grant: write((view) => grantForm(view, { page: -1 })),
  'grant.change': write((view) => grantForm(view, { ...reviewedForm(view), page: -1 })),
  'grant.page:': write((view, page) => grantForm(view, { ...submittedForm(view), page: Number(page) })),
  'grant.review': write((view) => grantReview(view, submittedForm(view))),
  'grant.add': write((view) => grantReview(view, { ...reviewedForm(view), start: 'after' })),
  'grant.confirm': write(grantConfirm),
  'grant.approve': write(approve),
  'grant.decline': write(declineOrWithdraw),
  'grant.withdraw': write(declineOrWithdraw),
  grants: read((view) => grantsList(view)),
  'grants:': read((view, direction) => grantsList(view, direction === 'newer' ? 'newer' : 'older')),
  'grant:': read(showGrant),
  'revoke:': write((view, actionId) => withGrant(view, actionId, (grant) => revokeReview(view, grant))),
  'revoke.confirm': write(revokeConfirm),
  'subscription:': read(subscriptionPage),
  'cancel:': write((view, id) => actionForm(view, newForm('cancel', id))),
  'refund:': write((view, id) => actionForm(view, newForm('refund', id))),
  'extend:': write(extendEither),
  'manage:': write((view, id) => actionForm(view, newForm('manage', id))),
  transfer: write((view) => actionForm(view, newForm('transfer', ''))),
  'action.review': write(reviewAction),
  'action.confirm': write(storeConfirm),
  'action.approve': write((view) => storeDecision(view, 'approve')),
  'action.decline': write((view) => storeDecision(view, 'decline')),
};

/** `extend:` leads on from a subscription and from a grant. */
function extendEither(view: ActionView, id: string): Promise<InboxCanvas> {
  if (findPurchase(view, id)) return actionForm(view, newForm('extend', id));
  return withGrant(view, id, ({ entitlementId }) =>
    grantForm(view, { entitlement: entitlementId, page: -1, extends: true }),
  );
}

function reviewAction(view: ActionView): Promise<InboxCanvas> {
  const form = submittedAction(view);
  return form
    ? storeReview(view, form)
    : withStoreAction(view, undefined, (action) => storeResult(view, action));
}

async function showGrant(view: ActionView, actionId: string): Promise<InboxCanvas> {
  const storeAction = await findStoreAction(view, actionId);
  if (storeAction) return storeResult(view, storeAction);
  return withGrant(view, actionId, (grant) =>
    grant.state === 'awaiting_approval' ? approvalView(view, grant) : grantResult(view, grant),
  );
}
