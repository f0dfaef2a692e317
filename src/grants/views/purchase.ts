import { endLine, endRow, labeled, priceText, statusText, storeText } from '../../i18n/sentences.ts';
import {
  andMore,
  button,
  type Component,
  clip,
  componentsOf,
  escapeMarkdown,
  type InboxCanvas,
  item,
  linkButton,
  list,
  type Part,
  type Row,
  table,
  text,
  textarea,
} from '../../intercom/canvas.ts';
import { describeSubscription, endOf, isPaymentFailing } from '../../subscription/describe-subscription.ts';
import { APPLE_SUBSCRIPTIONS_PAGE, isApple, isWebStore } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import { ActionError, orActionError, refused } from '../action-error.ts';
import { PURCHASE_ACTIONS, whyUnavailable } from '../action-kinds.ts';
import type { ViewContext } from '../context.ts';
import { findRefusal } from '../policy.ts';
import { allPurchases, findPurchase, readPurchase, subscriptionId } from '../purchases.ts';
import { customerMessages, errorText, listButton, purchaseName } from './parts.ts';

const APPLE_REFUND_URL = 'https://reportaproblem.apple.com';
const MAX_LISTED = 20;

/** For a customer's details: links to everything bought or granted, and a button that transfers purchases. */
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
    items.length > 0 && [text(t('card.title.purchases'), 'header'), list(items)],
    andMore(messages, all.length - MAX_LISTED),
    isTransferOn && button('transfer', t('action.button.transfer'), 'secondary'),
  ]);
}

/** All facts about something bought or granted, and exactly what its store allows. */
export async function subscriptionPage(context: ViewContext, id: string): Promise<InboxCanvas> {
  const { t } = context.messages;
  const subscription = findPurchase(context, id);
  if (!subscription) return context.page([text(t('action.state.notFound'), 'muted')]);
  const { store, environment, managementUrl } = subscription;
  return context.page([
    text(`**${escapeMarkdown(clip(purchaseName(context, subscription), 100))}**`),
    table(factRows(context, subscription)),
    store === 'PROMOTIONAL' ? listButton(context) : await actionComponents(context, id),
    // A web store's link opens the customer's subscription; Apple's and Google's open the account of whoever clicks.
    isWebStore(store) &&
      managementUrl?.startsWith('https://') &&
      linkButton('open-store', t('card.button.manage'), managementUrl),
    appleTexts(context, subscription),
    store === 'PLAY_STORE' && environment === 'production' && text(t('card.note.google'), 'muted'),
    button('details', t('action.button.details'), 'link'),
  ]);
}

function factRows({ messages, app, customer }: ViewContext, subscription: SubscriptionState): Row[] {
  const { t, date, money } = messages;
  const { store, startedAtMs, isOneTime, renewals, environment, isFamilyShare } = subscription;
  const described = describeSubscription(subscription, customer.state, {
    names: customer.names,
    nowMs: app.now(),
  });
  const { product, what, price } = described;
  const isConsumable = isOneTime && subscription.entitlements.length === 0;
  // A refund whose purchase is unknown here leaves a negative sum, which is not a payment.
  const paid = subscription.paid.filter(({ amountMinor }) => amountMinor > 0);
  return [
    [t('card.label.status'), isConsumable ? null : statusText(messages, described.label)],
    [t('card.label.entitlement'), product && !isConsumable ? what : null],
    [t('card.label.store'), store === 'PROMOTIONAL' ? null : storeText(messages, store)],
    [t('card.label.price'), price && priceText(messages, price)],
    [
      t(isOneTime ? 'action.label.bought' : 'card.label.started'),
      startedAtMs === null ? null : date(startedAtMs),
    ],
    ...endRow(messages, isConsumable ? null : described.end),
    [t('card.label.renewals'), renewals > 0 ? String(renewals) : null],
    [t('card.label.paid'), messages.list(paid.map(money))],
    [t('card.label.environment'), environment === 'sandbox' ? t('card.environment.sandbox') : null],
    [t('card.label.familySharing'), isFamilyShare ? t('card.yes') : null],
    [t('action.label.transaction'), subscription.transactionId],
  ];
}

async function actionComponents(context: ViewContext, id: string): Promise<Part[]> {
  const { messages, workspace } = context;
  const { t } = messages;
  const isAnyOn = Object.values(workspace.settings.actions).some(({ enabled }) => enabled);
  if (!isAnyOn) return [text(t('action.state.allOff'), 'muted')];
  const purchase = await orActionError(readPurchase(context, id));
  const isFailed = purchase instanceof ActionError;
  if (isFailed && purchase.code !== 'unknown_customer')
    return [
      text(errorText(context, 'cancel', purchase), 'muted'),
      purchase.kind === 'failed' && button(`subscription:${id}`, t('action.button.tryAgain'), 'secondary'),
    ];
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

/** Only Apple can refund, and only the customer can cancel there: texts for the reply, with the right link. */
function appleTexts(context: ViewContext, subscription: SubscriptionState): Part[] {
  const { messages, app } = context;
  const { willRenew, awaitsPriceConsent } = subscription;
  if (!isApple(subscription.store)) return [];
  const canCancel = willRenew || awaitsPriceConsent || isPaymentFailing(subscription, app.now());
  const field = (name: 'cancel' | 'refund', url: string): Component =>
    textarea({
      id: `action.apple.${name}`,
      label: messages.t(`action.label.apple.${name}`),
      value: customerMessages(context).t(`action.customerText.apple.${name}`, { url }),
    });
  return [
    text(messages.t('action.state.apple'), 'muted'),
    canCancel && field('cancel', APPLE_SUBSCRIPTIONS_PAGE),
    field('refund', APPLE_REFUND_URL),
  ];
}
