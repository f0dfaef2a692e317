import { storeText } from '../../i18n/sentences.ts';
import {
  button,
  type Component,
  clip,
  componentsOf,
  escapeMarkdown,
  type InboxCanvas,
  item,
  list,
  type Part,
  table,
  text,
} from '../../intercom/canvas.ts';
import { productLabel } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import { findLive, isApple, listPurchaseActions, subscriptionId } from '../action-kinds.ts';
import type { ActionView } from '../context.ts';
import { findRefusal } from '../policy.ts';
import { allPurchases, findPurchase, readOwned } from '../store-rules.ts';
import { customerMessages, obstacleText } from './format.ts';

const APPLE_SUBSCRIPTIONS_URL = 'https://apps.apple.com/account/subscriptions';
const APPLE_REFUND_URL = 'https://reportaproblem.apple.com';
const MAX_LISTED = 20;

/** For the details of a customer: every purchase leads to its page, and all of them can be transferred. */
export function purchaseComponents(
  card: Pick<ActionView, 'customer' | 'messages' | 'workspace'>,
): Component[] {
  const { messages, workspace } = card;
  const { t } = messages;
  const items = allPurchases(card)
    .slice(0, MAX_LISTED)
    .map((purchase) => {
      const { isOneTime, price, startedAtMs, store } = purchase;
      // The same product may be bought several times.
      const once = isOneTime
        ? [startedAtMs === null ? null : messages.date(startedAtMs), price && messages.money(price)]
        : [];
      return item(`subscription:${subscriptionId(purchase)}`, clip(purchaseName(card, purchase), 100), {
        subtitle: [storeText(messages, store), ...once].filter(Boolean).join(' · '),
      });
    });
  const isTransferOn = workspace.settings.actions.transfer.enabled;
  return componentsOf([
    items.length > 0 && list(items),
    isTransferOn && button('transfer', t('action.button.transfer'), 'secondary'),
  ]);
}

/** One subscription or purchase, and exactly what its store allows. */
export async function subscriptionPage(view: ActionView, id: string): Promise<InboxCanvas> {
  const { messages, workspace } = view;
  const { t } = messages;
  const subscription = findPurchase(view, id);
  if (!subscription) return view.page([text(t('action.state.notFound'), 'muted')]);
  const { price, store, startedAtMs, endsAtMs, transactionId, environment, isOneTime } = subscription;
  const isEndless = endsAtMs === null && subscription.entitlements.length > 0;
  const facts = table([
    [t('action.label.store'), storeText(messages, store)],
    [t('action.label.price'), price && messages.money(price)],
    [
      t(isOneTime ? 'action.label.bought' : 'action.label.started'),
      startedAtMs === null ? null : messages.date(startedAtMs),
    ],
    [
      t(subscription.willRenew ? 'action.label.renews' : 'action.label.ends'),
      endsAtMs === null ? (isEndless ? t('grant.access.forever') : null) : messages.date(endsAtMs),
    ],
    [t('action.label.environment'), environment === 'sandbox' ? t('action.state.sandbox') : null],
    [t('action.label.transaction'), transactionId],
  ]);
  const head = text(`**${escapeMarkdown(clip(purchaseName(view, subscription), 100))}**`);
  const isAnyOn = Object.values(workspace.settings.actions).some(({ enabled }) => enabled);
  const actions = isAnyOn
    ? await actionComponents(view, subscription, id)
    : [text(t('action.state.allOff'), 'muted')];
  return view.page([
    head,
    facts,
    actions,
    appleTexts(view, subscription),
    button('details', t('action.button.details'), 'link'),
  ]);
}

export function purchaseName(
  { customer, messages }: Pick<ActionView, 'customer' | 'messages'>,
  subscription: SubscriptionState,
): string {
  const { productId, productName } = subscription;
  if (productName !== null) return productName;
  return productId === null ? messages.t('action.state.unnamed') : productLabel(productId, customer.names);
}

async function actionComponents(
  view: ActionView,
  subscription: SubscriptionState,
  id: string,
): Promise<Part[]> {
  const { t } = view.messages;
  const owned = await readOwned(view);
  if (typeof owned === 'string')
    return [text(obstacleText(view, 'cancel', { kind: 'failed', code: owned }), 'muted')];
  const own = findLive(subscription, owned.purchases);
  if (!own) return [text(t('action.state.notInRevenueCat'), 'muted')];
  const offered = listPurchaseActions(own, subscription.isFamilyShare);
  if (offered.length === 0)
    return [
      text(t('action.state.storeOffersNothing', { store: storeText(view.messages, own.store) }), 'muted'),
    ];
  const components: Part[] = [];
  for (const { kind, unavailable } of offered) {
    const refusal = unavailable
      ? { code: unavailable }
      : await findRefusal(view, { kind, details: { of: own.kind } });
    components.push(
      refusal
        ? text(
            `${t(`action.title.${kind}`)}: ${obstacleText(view, kind, { kind: 'refused', ...refusal })}`,
            'muted',
          )
        : button(`${kind}:${id}`, t(`action.button.${kind}`), 'secondary'),
    );
  }
  return components;
}

/** Only Apple refunds, and only the customer cancels there: what to tell them, with the right link. */
function appleTexts(view: ActionView, { store, isOneTime }: SubscriptionState): Part[] {
  const { messages } = view;
  if (!isApple(store)) return [];
  const field = (name: 'cancel' | 'refund', url: string): Component => ({
    type: 'textarea',
    id: `action.apple.${name}`,
    label: messages.t(`action.label.apple.${name}`),
    value: customerMessages(view).t(`action.customerText.apple.${name}`, { url }),
  });
  return [
    text(messages.t('action.state.apple'), 'muted'),
    !isOneTime && field('cancel', APPLE_SUBSCRIPTIONS_URL),
    field('refund', APPLE_REFUND_URL),
  ];
}
