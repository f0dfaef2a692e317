import { storeText } from '../../i18n/sentences.ts';
import { button, type Component, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { MINUTE_MS } from '../../time.ts';
import { lastStepAtMs, scheduleConfirm } from '../confirmation.ts';
import type { ActionView } from '../context.ts';
import { findByKey } from '../repository.ts';
import {
  approveStoreAction,
  confirmStoreAction,
  declineStoreAction,
  findStoreAction,
  findStoreBlocker,
  needsSecondPerson,
  reviewStoreAction,
  type StoreConfirm,
  type StoreForm,
} from '../store-service.ts';
import { policyOf } from '../stores.ts';
import { nameOf, type StoreAction } from '../types.ts';
import type { ReviewedAction } from './form-state.ts';
import { answerInTime, blockedStorePage, blockerText, exactEnd, waitForFirstPress } from './format.ts';
import { actionForm } from './subscription.ts';

/** A job that has not run for this long may be lost. */
const OVERDUE_MS = MINUTE_MS;

function storeFailureText({ messages }: ActionView, code: string | null): string {
  const key = `action.failure.${code}`;
  return messages.t(messages.has(key) ? key : 'action.failure.other');
}

/** Checks the form, and shows exactly what will happen and what will not. */
export async function storeReview(view: ActionView, form: StoreForm): Promise<InboxCanvas> {
  const result = await reviewStoreAction(view, form);
  switch (result.kind) {
    case 'ready':
      return reviewCanvas(view, result.reviewed);
    case 'blocked':
      return ['reason_missing', 'reason_too_long'].includes(result.blocker.code)
        ? actionForm(view, form, blockerText(view, result.blocker))
        : blockedStorePage(view, result.blocker);
    case 'invalid':
      return actionForm(view, form, view.messages.t(`action.problem.${result.problem}`));
    case 'failed':
      return actionForm(view, form, storeFailureText(view, result.code));
  }
}

function reviewCanvas(view: ActionView, reviewed: ReviewedAction, problem?: string): InboxCanvas {
  const { t } = view.messages;
  const { kind, subscription } = reviewed;
  const isApprovalNeeded = needsSecondPerson(view, reviewed);
  const { maxAmountAlone } = policyOf(view.workspace.settings, kind);
  return view.page(
    [
      text(t(`action.title.${kind}`), 'header', true),
      ...(problem === undefined ? [] : [text(problem, 'error')]),
      ...effects(view, reviewed),
      ...(isApprovalNeeded
        ? [text(t('action.state.secondPerson', { max: maxAmountAlone ?? 0 }), 'muted')]
        : []),
      button(
        'action.confirm',
        t(isApprovalNeeded ? 'grant.button.requestApproval' : `action.confirm.${kind}`),
        'primary',
      ),
      button(
        subscription === '' ? 'transfer' : `${kind}:${subscription}`,
        t('grant.button.change'),
        'secondary',
      ),
    ],
    { action: reviewed },
  );
}

/** Which texts an action has: refunds of charges and of one-time purchases have their own. */
function variantOf({ kind, details }: Pick<StoreAction, 'kind' | 'details'>) {
  if (kind !== 'refund') return kind;
  if (details.transactionId !== undefined) return 'refundCharge';
  return details.of === 'purchase' ? 'refundPurchase' : 'refund';
}

/** What happens, what does not, the sum, and who tells the customer. */
function effects(
  view: ActionView,
  action: Pick<ReviewedAction, 'kind' | 'details' | 'appUserId' | 'reason'>,
): Component[] {
  const { t, money, date } = view.messages;
  const { kind, details } = action;
  const { before, days = 0, amount, store, transactionId, moves } = details;
  const endMs = before?.endsAtMs ?? null;
  const values = {
    product: details.product,
    days,
    count: moves?.length ?? 0,
    access: before?.givesAccess ? 'ends' : null,
    from: endMs === null ? null : date(endMs),
    to: endMs === null ? null : exactEnd(view, endMs + days * 86_400_000),
  };
  return [
    text(t(`action.effect.${variantOf(action)}`, values)),
    ...table([
      [
        t('action.label.amount'),
        kind === 'refund' ? (amount ? money(amount) : t('action.state.amountUnknown')) : null,
      ],
      [t('action.label.transaction'), transactionId],
      [t('action.label.product'), details.of === 'customer' ? null : details.product],
      [t('action.label.store'), storeText(view.messages, store)],
      [t('grant.label.customer'), action.appUserId],
      [t('grant.label.reason'), action.reason],
    ]),
    ...(kind === 'manage' ? [] : [text(t('action.effect.notifies', { store }), 'muted')]),
  ];
}

/** Does what was reviewed; pressed twice, shows the first one's result. */
export async function storeConfirm(view: ActionView): Promise<InboxCanvas> {
  const { t } = view.messages;
  const reviewed = view.formState.action;
  if (reviewed?.subscriberId !== view.customer.subscriber.subscriberId)
    return view.page([text(t('card.state.outdated'), 'error')]);
  return confirmed(view, confirmStoreAction(view, reviewed), {
    find: async () => {
      const action = await findByKey(view.context.database, view.workspace.workspaceId, reviewed.key);
      return action?.kind === 'grant' ? null : action;
    },
    onFailed: (code) => Promise.resolve(reviewCanvas(view, reviewed, storeFailureText(view, code))),
  });
}

/** Approves, declines or withdraws what waits for a second teammate. */
export async function storeDecision(view: ActionView, decision: 'approve' | 'decline'): Promise<InboxCanvas> {
  return withStoreAction(view, view.formState.decideAction, (action) =>
    confirmed(
      view,
      decision === 'approve' ? approveStoreAction(view, action) : declineStoreAction(view, action),
      {
        find: () => findStoreAction(view, action.actionId),
        onFailed: (code) => waitingPage(view, action, storeFailureText(view, code)),
      },
    ),
  );
}

async function confirmed(
  view: ActionView,
  work: Promise<StoreConfirm>,
  otherwise: {
    readonly find: () => Promise<StoreAction | null>;
    readonly onFailed: (code: string) => Promise<InboxCanvas>;
  },
): Promise<InboxCanvas> {
  const { t } = view.messages;
  const pressedAtMs = Date.now();
  const result = await answerInTime<StoreConfirm | null>(view, work, async () => {
    const action = await otherwise.find();
    return action && { kind: 'done', action, isKnown: false };
  });
  switch (result?.kind) {
    case undefined:
      return view.page([text(t('action.state.pending'), 'muted')]);
    case 'done': {
      const action = result.isKnown
        ? await waitForFirstPress(view, result.action, pressedAtMs)
        : result.action;
      return storeResult(view, action, result.url);
    }
    case 'review_again':
      return reviewCanvas(view, result.reviewed, t(`grant.state.${result.reason}`));
    case 'failed':
      return otherwise.onFailed(result.code);
    case 'invalid':
      return view.page([text(t(`action.problem.${result.problem}`), 'error')]);
    case 'blocked':
      return blockedStorePage(view, result.blocker);
  }
}

/** How an action stands, and what to tell the customer. */
export async function storeResult(view: ActionView, action: StoreAction, url?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { kind, state } = action;
  const facts = actionTable(view, action);
  const list = button('grants', t('action.button.all'), 'secondary');
  const name = t(`action.title.${kind}`);
  switch (state) {
    case 'awaiting_approval':
      return waitingPage(view, action);
    case 'declined':
    case 'withdrawn':
      return view.page([text(t(`action.result.${state}`, { action: name })), ...facts, list]);
    case 'failed':
      return view.page([text(storeFailureText(view, action.error), 'error'), ...facts, list]);
    case 'confirmed':
      return view.page([
        text(t(`action.result.${kind}`, resultValues(view, action))),
        ...customerText(view, action, url),
        ...facts,
        list,
      ]);
    default:
      // A lost job is queued again when an agent looks at what it should have completed.
      if (view.context.now() - lastStepAtMs(action) > OVERDUE_MS)
        await scheduleConfirm(view.context, action, 0);
      return view.page([
        text(t('action.state.pending'), 'muted'),
        ...facts,
        button(`grant:${action.actionId}`, t('grant.button.refresh'), 'secondary'),
      ]);
  }
}

function resultValues(
  { messages }: Pick<ActionView, 'messages'>,
  { details }: StoreAction,
): Record<string, string | number | null> {
  const { after, before, amount, days = 0, product, moves } = details;
  const endMs = after?.endsAtMs ?? before?.endsAtMs ?? null;
  return {
    product,
    days,
    count: moves?.length ?? 0,
    access: before?.givesAccess ? 'ends' : null,
    amount: amount && messages.money(amount),
    end: endMs === null ? null : messages.date(endMs),
  };
}

function customerText(view: ActionView, action: StoreAction, url?: string): Component[] {
  const { messages, customerMessages } = view;
  if (action.kind === 'manage' && url === undefined)
    return [text(messages.t('action.state.linkShownOnce'), 'muted')];
  return [
    {
      type: 'textarea',
      id: 'action.tell',
      label: messages.t('grant.label.customerText'),
      value: customerMessages.t(`action.customerText.${variantOf(action)}`, {
        ...resultValues({ messages: customerMessages }, action),
        url: url ?? '',
      }),
    },
  ];
}

function actionTable({ messages }: ActionView, action: StoreAction): Component[] {
  const { t } = messages;
  const { details, decidedBy, state } = action;
  return table([
    [t('action.label.product'), details.product],
    [t('action.label.amount'), details.amount && messages.money(details.amount)],
    [t('action.label.transaction'), details.transactionId],
    [t('action.label.by'), nameOf(action.admin)],
    [
      t(state === 'declined' ? 'grant.label.declinedBy' : 'grant.label.approvedBy'),
      decidedBy && nameOf(decidedBy),
    ],
    [t('grant.label.on'), messages.dateTime(action.createdAtMs)],
    [t('grant.label.reason'), action.reason],
    [t('grant.label.customer'), action.appUserId],
  ]);
}

/** An action that waits for a second teammate: its requester may withdraw it, others who may do it decide. */
async function waitingPage(view: ActionView, action: StoreAction, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const name = t(`action.title.${action.kind}`);
  const isOwn = action.admin.id === view.admin.id;
  const blocker = isOwn ? null : await findStoreBlocker(view, action.kind, action.details.of);
  return view.page(
    [
      text(t('action.result.awaiting', { action: name })),
      ...(problem === undefined ? [] : [text(problem, 'error')]),
      ...effects(view, action),
      ...actionTable(view, action),
      ...(isOwn ? [button('action.decline', t('grant.button.withdraw'), 'secondary')] : []),
      ...(blocker ? [text(blockerText(view, blocker), 'muted')] : []),
      ...(isOwn || blocker
        ? []
        : [
            button('action.approve', t('action.button.approve'), 'primary'),
            button('action.decline', t('grant.button.decline'), 'secondary'),
          ]),
    ],
    { decideAction: action.actionId },
  );
}

export async function withStoreAction(
  view: ActionView,
  actionId: string | undefined,
  draw: (action: StoreAction) => Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  const action = actionId === undefined ? null : await findStoreAction(view, actionId);
  return action ? draw(action) : view.page([text(view.messages.t('action.state.notFound'), 'muted')]);
}
