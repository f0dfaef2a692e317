import { endLine, endRow, labeled, storeText } from '../../i18n/sentences.ts';
import {
  button,
  type Component,
  choice,
  clip,
  componentsOf,
  escapeMarkdown,
  type InboxCanvas,
  input,
  item,
  list,
  option,
  type Part,
  table,
  text,
  tightText,
} from '../../intercom/canvas.ts';
import type { LivePurchase } from '../../revenuecat/store-actions.ts';
import { endOf } from '../../subscription/describe-subscription.ts';
import { APPLE_SUBSCRIPTIONS_PAGE, isApple, productOf } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import { ActionError, orActionError, refused } from '../action-error.ts';
import { maxExtensionDays, PURCHASE_ACTIONS, refundsCharges, whyUnavailable } from '../action-kinds.ts';
import type { ViewContext } from '../context.ts';
import type { StoreForm } from '../form-state.ts';
import { findRefusal } from '../policy.ts';
import {
  allPurchases,
  findPurchase,
  listRefundableCharges,
  readPurchase,
  subscriptionId,
  targetTypeOf,
} from '../purchases.ts';
import { APPLE_REASON_CODES } from '../store-actions.ts';
import { customerMessages, errorText, reasonField, refusedPage } from './parts.ts';

const MAX_CHARGES = 10;
const APPLE_REFUND_URL = 'https://reportaproblem.apple.com';
const MAX_LISTED = 20;

/** For the details of a customer: every purchase leads to its page, and all of them can be transferred. */
export function purchaseComponents(
  context: Pick<ViewContext, 'app' | 'customer' | 'messages' | 'workspace'>,
): Component[] {
  const { app, messages, workspace } = context;
  const { t } = messages;
  const all = allPurchases(context);
  const items = all.slice(0, MAX_LISTED).map((purchase) => {
    const { isOneTime, price, startedAtMs, store } = purchase;
    // The same product may be bought several times.
    const about = isOneTime
      ? [startedAtMs === null ? null : messages.date(startedAtMs), price && messages.money(price)]
      : [endLine(messages, endOf(purchase, app.now()))];
    return item(`subscription:${subscriptionId(purchase)}`, clip(purchaseName(context, purchase), 100), {
      subtitle: [storeText(messages, store), ...about].filter(Boolean).join(' · '),
    });
  });
  const isTransferOn = workspace.settings.actions.transfer.enabled;
  return componentsOf([
    items.length > 0 && list(items),
    all.length > MAX_LISTED && text(t('card.andMore', { count: all.length - MAX_LISTED }), 'muted'),
    isTransferOn && button('transfer', t('action.button.transfer'), 'secondary'),
  ]);
}

/** One subscription or purchase, and exactly what its store allows. */
export async function subscriptionPage(context: ViewContext, id: string): Promise<InboxCanvas> {
  const { messages, workspace, app } = context;
  const { t } = messages;
  const subscription = findPurchase(context, id);
  if (!subscription) return context.page([text(t('action.state.notFound'), 'muted')]);
  const { price, store, startedAtMs, transactionId, environment, isOneTime } = subscription;
  const isConsumable = isOneTime && subscription.entitlements.length === 0;
  const facts = table([
    [t('card.label.store'), storeText(messages, store)],
    [t('card.label.price'), price && messages.money(price)],
    [
      t(isOneTime ? 'action.label.bought' : 'card.label.started'),
      startedAtMs === null ? null : messages.date(startedAtMs),
    ],
    ...endRow(messages, isConsumable ? null : endOf(subscription, app.now())),
    [t('card.label.environment'), environment === 'sandbox' ? t('card.environment.sandbox') : null],
    [t('action.label.transaction'), transactionId],
  ]);
  const head = text(`**${escapeMarkdown(clip(purchaseName(context, subscription), 100))}**`);
  const isAnyOn = Object.values(workspace.settings.actions).some(({ enabled }) => enabled);
  const actions = isAnyOn ? await actionComponents(context, id) : [text(t('action.state.allOff'), 'muted')];
  return context.page([
    head,
    facts,
    actions,
    appleTexts(context, subscription),
    button('details', t('action.button.details'), 'link'),
  ]);
}

function purchaseName(
  { customer, messages }: Pick<ViewContext, 'customer' | 'messages'>,
  purchase: SubscriptionState,
): string {
  return productOf(purchase, customer.names) || messages.t('action.state.unnamed');
}

async function actionComponents(context: ViewContext, id: string): Promise<Part[]> {
  const { messages } = context;
  const { t } = messages;
  const purchase = await orActionError(readPurchase(context, id));
  const isFailed = purchase instanceof ActionError;
  if (isFailed && purchase.code !== 'unknown_customer')
    return [text(errorText(context, 'cancel', purchase), 'muted')];
  if (isFailed || !purchase) return [text(t('action.state.notInRevenueCat'), 'muted')];
  const { subscription, live } = purchase;
  const components: Part[] = [];
  for (const kind of PURCHASE_ACTIONS) {
    const unavailable = whyUnavailable(kind, live, subscription.isFamilyShare);
    if (unavailable === 'store') continue;
    const refusal = unavailable
      ? refused(unavailable)
      : await findRefusal(context, { kind, details: { targetType: live.kind } });
    components.push(
      refusal
        ? text(labeled(messages, t(`action.title.${kind}`), errorText(context, kind, refusal)), 'muted')
        : button(`${kind}:${id}`, t(`action.button.${kind}`), 'secondary'),
    );
  }
  const store = storeText(messages, live.store);
  return components.length > 0
    ? components
    : [text(t('action.state.storeOffersNothing', { store }), 'muted')];
}

/** Only Apple refunds, and only the customer can cancel there: texts for the reply, with the right link. */
function appleTexts(context: ViewContext, { store, isOneTime }: SubscriptionState): Part[] {
  const { messages } = context;
  if (!isApple(store)) return [];
  const field = (name: 'cancel' | 'refund', url: string): Component => ({
    type: 'textarea',
    id: `action.apple.${name}`,
    label: messages.t(`action.label.apple.${name}`),
    value: customerMessages(context).t(`action.customerText.apple.${name}`, { url }),
  });
  return [
    text(messages.t('action.state.apple'), 'muted'),
    !isOneTime && field('cancel', APPLE_SUBSCRIPTIONS_PAGE),
    field('refund', APPLE_REFUND_URL),
  ];
}

/** The form of an action on one subscription or purchase. */
export async function storeForm(
  context: ViewContext,
  form: StoreForm,
  error?: ActionError,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { kind } = form;
  const refusal = await findRefusal(context, { kind, details: { targetType: targetTypeOf(context, form) } });
  if (refusal) return refusedPage(context, kind, refusal);
  const fields =
    kind === 'transfer' ? transferFields(context, form) : await orActionError(purchaseFields(context, form));
  if (fields instanceof ActionError)
    return fields.kind === 'refused'
      ? refusedPage(context, kind, fields)
      : tryAgainPage(context, form, { error: fields, id: `${kind}:${form.subscription}` });
  if (fields.length === 0) return context.page([text(t('action.state.notInRevenueCat'), 'muted')]);
  return context.page(
    [
      tightText(t(`action.title.${kind}`), 'header'),
      error && text(errorText(context, kind, error), 'error'),
      fields,
      reasonField(context, kind, { value: form.reason }),
      button('action.review', t('action.button.review'), 'primary'),
    ],
    { form: { kind, subscription: form.subscription } },
  );
}

function transferFields({ messages: { t } }: ViewContext, form: StoreForm): Part[] {
  return [
    text(t('action.form.transfer'), 'muted'),
    input({ id: 'transfer.target', label: t('action.label.target'), value: form.target }),
    input({
      id: 'transfer.order',
      label: t('action.label.order'),
      placeholder: 'GPA.1234-5678-9012-34567',
      value: form.order,
    }),
  ];
}

/** RevenueCat could not be read. What was typed stays in the form state for the next try. */
export function tryAgainPage(
  context: ViewContext,
  form: StoreForm,
  { error, id }: { readonly error: ActionError; readonly id: string },
): InboxCanvas {
  const { t } = context.messages;
  return context.page(
    [
      tightText(t(`action.title.${form.kind}`), 'header'),
      text(errorText(context, form.kind, error), 'error'),
      button(id, t('action.button.tryAgain'), 'secondary'),
    ],
    { form },
  );
}

/** Empty: RevenueCat does not have the purchase. Throws ActionError. */
async function purchaseFields(context: ViewContext, form: StoreForm): Promise<Part[]> {
  const { messages } = context;
  const { t } = messages;
  const purchase = await readPurchase(context, form.subscription);
  if (!purchase) return [];
  const { subscription, live } = purchase;
  const rows = table([
    [t('card.label.product'), purchaseName(context, subscription)],
    [t('card.label.store'), storeText(messages, live.store)],
  ]);
  if (form.kind === 'extend') return [rows, ...extensionFields(context, form, live)];
  if (form.kind !== 'refund' || !refundsCharges(live)) return rows;
  const charges = await listRefundableCharges(context, live);
  const options = charges.slice(0, MAX_CHARGES).map(({ id, purchasedAtMs, rest }) => {
    const about = [messages.date(purchasedAtMs), rest && messages.money(rest), id];
    return option(id, about.filter(Boolean).join(' · '));
  });
  const label = t('action.label.transaction');
  const value = form.transaction ?? charges[0]?.id;
  return [rows, choice({ id: 'action.transaction', label, options, value })];
}

function extensionFields({ messages: { t } }: ViewContext, form: StoreForm, live: LivePurchase): Part[] {
  const label = t('action.label.days', { max: maxExtensionDays(live.store) });
  const days = input({ id: 'action.days', label, value: form.days ?? '7' });
  if (!isApple(live.store)) return [days];
  const code = choice({
    id: 'action.code',
    label: t('action.label.code'),
    options: APPLE_REASON_CODES.map((each) => option(String(each), t(`action.code.${each}`))),
    value: form.reasonCode ?? '1',
  });
  return [days, code];
}

/** The form as the request has it. */
export function submittedStoreForm({ request: { inputs }, formState }: ViewContext): StoreForm | null {
  const { form } = formState;
  if (!form || form.kind === 'grant') return null;
  const of = (name: string): string | undefined => inputs[name]?.trim();
  return {
    ...form,
    days: of('action.days') ?? form.days,
    reasonCode: of('action.code') ?? form.reasonCode,
    transaction: of('action.transaction') ?? form.transaction,
    target: of('transfer.target') ?? form.target,
    order: of('transfer.order') ?? form.order,
    reason: of('action.reason') ?? form.reason,
  };
}
