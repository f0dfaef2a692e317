import { type InboxCanvas, text } from '../../intercom/canvas.ts';
import type { StoreActionKind } from '../action.ts';
import type { ActionView } from '../context.ts';
import { findPurchase } from '../store-rules.ts';
import { approve, decline, revokeConfirm, revokeReview, withAction, withGrant } from './decisions.ts';
import { grantForm, submittedGrant } from './grant-form.ts';
import { actionList } from './list.ts';
import { actionResult } from './result.ts';
import { confirmReview, reviewedGrant, showReview } from './review.ts';
import { storeForm, submittedStoreForm } from './store-form.ts';
import { subscriptionPage } from './subscription.ts';

interface ActionViewEntry {
  /** It changes nothing, so it may be read from a replica. */
  readonly readOnly: boolean;
  /** @param argument what follows the colon of the component's id */
  render(view: ActionView, argument: string): InboxCanvas | Promise<InboxCanvas>;
}

const read = (render: ActionViewEntry['render']): ActionViewEntry => ({ readOnly: true, render });
const write = (render: ActionViewEntry['render']): ActionViewEntry => ({ readOnly: false, render });
const form = (kind: StoreActionKind): ActionViewEntry =>
  write((view, subscription) => storeForm(view, { kind, subscription }));

/** The views of actions by component id; an id that ends in a colon is a prefix. The inbox card adds them to its own. */
export const ACTION_VIEWS: Readonly<Record<string, ActionViewEntry>> = {
  grant: write((view) => grantForm(view, { kind: 'grant', page: -1 })),
  'grant.change': write((view) => grantForm(view, reviewedGrant(view))),
  'grant.page:': write((view, shown) => grantForm(view, { ...submittedGrant(view), page: Number(shown) })),
  'grant.review': write((view) => showReview(view, submittedGrant(view))),
  'grant.add': write((view) => showReview(view, { ...reviewedGrant(view), start: 'after' })),
  'grant.confirm': write(confirmReview),
  'grant.approve': write(approve),
  'grant.decline': write(decline),
  'grant.withdraw': write(decline),
  grants: read((view) => actionList(view)),
  'grants:': read(turnPage),
  'grant:': read((view, actionId) => withAction(view, actionId, (action) => actionResult(view, action))),
  'revoke:': write((view, actionId) => withGrant(view, actionId, (grant) => revokeReview(view, grant))),
  'revoke.confirm': write(revokeConfirm),
  'subscription:': read(subscriptionPage),
  'cancel:': form('cancel'),
  'refund:': form('refund'),
  'extend:': write(extendEither),
  'manage:': form('manage'),
  transfer: form('transfer'),
  'action.review': write(reviewStoreAction),
  'action.confirm': write(confirmReview),
  'action.approve': write(approve),
  'action.decline': write(decline),
  'action.withdraw': write(decline),
};

function turnPage(view: ActionView, direction: string): Promise<InboxCanvas> {
  const { grants: shown = 0 } = view.formState;
  return actionList(view, direction === 'newer' ? Math.max(0, shown - 1) : shown + 1);
}

/** `extend:` leads on from a subscription and from a grant. */
function extendEither(view: ActionView, id: string): Promise<InboxCanvas> {
  if (findPurchase(view, id)) return storeForm(view, { kind: 'extend', subscription: id });
  return withGrant(view, id, ({ target }) =>
    grantForm(view, { kind: 'grant', entitlement: target, page: -1, extends: true }),
  );
}

function reviewStoreAction(view: ActionView): InboxCanvas | Promise<InboxCanvas> {
  const submitted = submittedStoreForm(view);
  return submitted
    ? showReview(view, submitted)
    : view.page([text(view.messages.t('action.state.notFound'), 'muted')]);
}
