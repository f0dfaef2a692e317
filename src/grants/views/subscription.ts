import { storeText } from '../../i18n/sentences.ts';
import {
  button,
  type Component,
  choice,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  item,
  list,
  option,
  table,
  text,
} from '../../intercom/canvas.ts';
import type { LivePurchase } from '../../revenuecat/store-actions.ts';
import { productLabel } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import type { ActionView, CardVisit } from '../context.ts';
import {
  allPurchases,
  findPurchase,
  findStoreBlocker,
  listCharges,
  readOwned,
  type StoreForm,
  targetOf,
} from '../store-service.ts';
import {
  APPLE_REASON_CODES,
  findLive,
  isApple,
  listPurchaseActions,
  maxExtensionDays,
  refundsCharges,
  subscriptionId,
} from '../stores.ts';
import type { StoreActionKind } from '../types.ts';
import { blockedStorePage, blockerText, failureText } from './format.ts';

const APPLE_SUBSCRIPTIONS_URL = 'https://apps.apple.com/account/subscriptions';
const APPLE_REFUND_URL = 'https://reportaproblem.apple.com';
const MAX_CHARGES = 10;
const MAX_LISTED = 20;

/** For the details of a customer: every purchase leads to its page, and all of them can be transferred. */
export function purchaseComponents(
  card: Pick<CardVisit, 'customer' | 'messages' | 'workspace'>,
): Component[] {
  const { messages, workspace } = card;
  const { t } = messages;
  const items = allPurchases(card)
    .slice(0, MAX_LISTED)
    .map((purchase) => {
      const { isOneTime, price, startedAtMs, store } = purchase;
      // Of the same product bought several times, each must be told apart.
      const once = isOneTime
        ? [startedAtMs === null ? null : messages.date(startedAtMs), price && messages.money(price)]
        : [];
      return item(`subscription:${subscriptionId(purchase)}`, clip(purchaseName(card, purchase), 100), {
        subtitle: [storeText(messages, store), ...once].filter(Boolean).join(' · '),
      });
    });
  return [
    ...(items.length > 0 ? [list(items)] : []),
    ...(workspace.settings.actions.transfer.enabled
      ? [button('transfer', t('action.button.transfer'), 'secondary')]
      : []),
  ];
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
    ...facts,
    ...actions,
    ...appleTexts(view, subscription),
    button('details', t('action.button.details'), 'link'),
  ]);
}

function purchaseName(
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
): Promise<Component[]> {
  const { t } = view.messages;
  const read = await readOwned(view);
  if (read.kind === 'failed') return [text(failureText(view, read.code), 'muted')];
  const own = findLive(subscription, read.owned.purchases);
  if (!own) return [text(t('action.state.notInRevenueCat'), 'muted')];
  const offered = listPurchaseActions(own, subscription.isFamilyShare);
  if (offered.length === 0)
    return [
      text(t('action.state.storeOffersNothing', { store: storeText(view.messages, own.store) }), 'muted'),
    ];
  const components: Component[] = [];
  for (const { kind, unavailable } of offered) {
    const blocker = unavailable ? { code: unavailable } : await findStoreBlocker(view, kind, own.kind);
    components.push(
      blocker
        ? text(`${t(`action.title.${kind}`)}: ${blockerText(view, blocker)}`, 'muted')
        : button(`${kind}:${id}`, t(`action.button.${kind}`), 'secondary'),
    );
  }
  return components;
}

/** Only Apple refunds, and only the customer cancels there: what to tell them, with the right link. */
function appleTexts(
  { messages, customerMessages }: ActionView,
  { store, isOneTime }: SubscriptionState,
): Component[] {
  if (!isApple(store)) return [];
  const field = (name: 'cancel' | 'refund', url: string): Component => ({
    type: 'textarea',
    id: `action.apple.${name}`,
    label: messages.t(`action.label.apple.${name}`),
    value: customerMessages.t(`action.customerText.apple.${name}`, { url }),
  });
  return [
    text(messages.t('action.state.apple'), 'muted'),
    ...(isOneTime ? [] : [field('cancel', APPLE_SUBSCRIPTIONS_URL)]),
    field('refund', APPLE_REFUND_URL),
  ];
}

/** The form of an action on one subscription or purchase. */
export async function actionForm(view: ActionView, form: StoreForm, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { kind } = form;
  const blocker = await findStoreBlocker(view, kind, targetOf(view, form));
  if (blocker) return blockedStorePage(view, blocker);
  const fields = kind === 'transfer' ? transferFields(view, form) : await purchaseFields(view, form);
  if (fields === null) return view.page([text(t('action.state.notInRevenueCat'), 'muted')]);
  return view.page(
    [
      text(t(`action.title.${kind}`), 'header', true),
      ...(problem === undefined ? [] : [text(problem, 'error')]),
      ...fields,
      {
        type: 'textarea',
        id: 'action.reason',
        label: t(kind === 'manage' ? 'grant.label.reasonOptional' : 'grant.label.reason'),
        placeholder: t('grant.placeholder.reason'),
        ...(form.reason ? { value: form.reason } : {}),
      },
      button('action.review', t('grant.button.review'), 'primary'),
    ],
    { actionForm: { kind, subscription: form.subscription } },
  );
}

function transferFields({ messages: { t } }: ActionView, form: StoreForm): Component[] {
  return [
    text(t('action.effect.transferForm'), 'muted'),
    {
      type: 'input',
      id: 'transfer.target',
      label: t('action.label.target'),
      ...(form.target ? { value: clip(form.target, 200) } : {}),
    },
    {
      type: 'input',
      id: 'transfer.order',
      label: t('action.label.order'),
      placeholder: 'GPA.1234-5678-9012-34567',
      ...(form.order ? { value: clip(form.order, 100) } : {}),
    },
  ];
}

/** `null`: RevenueCat does not have the purchase. */
async function purchaseFields(view: ActionView, form: StoreForm): Promise<Component[] | null> {
  const { messages } = view;
  const { t } = messages;
  const subscription = findPurchase(view, form.subscription);
  const read = await readOwned(view);
  const own = subscription && read.kind === 'read' ? findLive(subscription, read.owned.purchases) : null;
  if (!subscription || !own) return null;
  const rows = table([
    [t('action.label.product'), purchaseName(view, subscription)],
    [t('action.label.store'), storeText(messages, own.store)],
  ]);
  if (form.kind === 'extend') return [...rows, ...extensionFields(view, form, own)];
  if (form.kind !== 'refund' || !refundsCharges(own)) return rows;
  const charges = (await listCharges(view, own)).slice(0, MAX_CHARGES);
  const options = charges.map(({ id, purchasedAtMs, price }) =>
    option(
      id,
      [messages.date(purchasedAtMs), price && messages.money(price), id].filter(Boolean).join(' · '),
    ),
  );
  return [
    ...rows,
    choice('action.transaction', t('action.label.transaction'), options, form.transaction ?? charges[0]?.id),
  ];
}

function extensionFields({ messages: { t } }: ActionView, form: StoreForm, own: LivePurchase): Component[] {
  const days: Component = {
    type: 'input',
    id: 'action.days',
    label: t('action.label.days', { max: maxExtensionDays(own.store) }),
    value: clip(form.days ?? '7', 10),
  };
  if (!isApple(own.store)) return [days];
  const codes = APPLE_REASON_CODES.map((code) => option(String(code), t(`action.code.${code}`)));
  return [days, choice('action.code', t('action.label.code'), codes, form.reasonCode ?? '1')];
}

/** The form as the request has it. */
export function submittedAction({ inputs, formState }: ActionView): StoreForm | null {
  const { actionForm: form } = formState;
  if (!form) return null;
  const of = (name: string): string | undefined => inputs[name]?.trim();
  return {
    ...form,
    days: of('action.days'),
    reasonCode: of('action.code'),
    transaction: of('action.transaction'),
    target: of('transfer.target'),
    order: of('transfer.order'),
    reason: of('action.reason'),
  };
}

export function newForm(kind: StoreActionKind, subscription: string): StoreForm {
  return { kind, subscription };
}
