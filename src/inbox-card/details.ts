import { purchaseComponents } from '../grants/views/purchase.ts';
import { endRow, priceText, statusText, storeText } from '../i18n/sentences.ts';
import {
  button,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  type Part,
  table,
  text,
  tightText,
} from '../intercom/canvas.ts';
import { readSubscriber } from '../subscribers/repository.ts';
import type { SubscriptionDescription } from '../subscription/describe-subscription.ts';
import { isApple, isWebStore } from '../subscription/names.ts';
import type { Snapshot } from '../subscription/types.ts';
import { andMore, revenueCatButton } from './context.ts';
import { type Customer, type CustomerContext, canShare, hasGrantsOrActions } from './customer.ts';

const MAX_SUBSCRIPTIONS_IN_DETAILS = 2;
/** A customer rarely has more; a longer list would bury what gives access now. */
const MAX_SUBSCRIPTIONS = 20;
const MAX_OTHER_IDS = 20;
const MAX_ATTRIBUTES = 25;

export async function details(context: CustomerContext): Promise<InboxCanvas> {
  const snapshot = await snapshotOf(context);
  const { customer, messages: m, projects } = context;
  const { state, project, link, snapshotAtMs } = customer;
  const all = allSubscriptions(customer);
  const date = (atMs: number | null | undefined): string | null => (atMs == null ? null : m.date(atMs));
  const hasMore = all.length > MAX_SUBSCRIPTIONS_IN_DETAILS;
  const parts: Part[] = [
    all.length > 0 && text(m.t('card.title.subscriptions'), 'header'),
    subscriptionBlocks(context, all.slice(0, MAX_SUBSCRIPTIONS_IN_DETAILS)),
    hasMore && button('subscriptions', `${m.t('card.button.subscriptions')} (${all.length})`, 'secondary'),
    purchaseComponents(context),
    // The overview has no room for it beside long sentences.
    hasGrantsOrActions(customer) && button('grants', m.t('card.button.grants'), 'secondary'),
    text(m.t('card.title.customer'), 'header'),
    tightText(m.t('card.label.appUserId'), 'muted'),
    // Ids are texts of their own, so that they can be selected and copied: the inbox truncates tables.
    text(escapeMarkdown(clip(customer.appUserId, 300))),
    table([
      [m.t('card.label.email'), customer.email],
      [
        m.t('card.label.lifetimeValue'),
        m.money({ amountMinor: state.lifetimeValueUsdCents, currency: 'USD' }),
      ],
      [m.t('card.label.country'), snapshot?.country],
      [m.t('card.label.platform'), [snapshot?.platform, snapshot?.platformVersion].filter(Boolean).join(' ')],
      [m.t('card.label.lastSeen'), date(snapshot?.lastSeenAtMs)],
      [m.t('card.label.project'), projects.length > 1 ? project.name : null],
      [
        m.t('card.label.linkedBy'),
        link && m.t('card.linkedByOn', { name: link.name, date: m.date(link.atMs) }),
      ],
      [m.t('card.label.updated'), snapshotAtMs === null ? null : m.dateTime(snapshotAtMs)],
    ]),
    project.apiKey === null && text(m.t('card.state.noKey'), 'muted'),
    button('technical', m.t('card.button.technical'), 'secondary'),
    canShare(context.request.contact, customer.appUserIds) &&
      button('share', m.t('card.button.share'), 'secondary'),
    revenueCatButton(context),
    button('match', m.t('card.button.wrongCustomer'), 'link'),
    link && button('unlink', m.t('card.button.unlink'), 'link'),
  ];
  return context.page(parts, link === null ? undefined : { unlink: customer.subscriberId });
}

/** What an engineer asks for: every id, the app's version and the customer's attributes. */
export async function technicalDetails(context: CustomerContext): Promise<InboxCanvas> {
  const snapshot = await snapshotOf(context);
  const { customer, messages: m } = context;
  const ids = customer.appUserIds.filter((id) => id !== customer.appUserId);
  const attributes = Object.entries(snapshot?.attributes ?? {});
  const { firstSeenAtMs, appVersion } = snapshot ?? {};
  const isEmpty = ids.length === 0 && attributes.length === 0 && firstSeenAtMs == null && !appVersion;
  return context.page([
    text(m.t('card.button.technical'), 'header'),
    ids.length > 0 && tightText(m.t('card.label.otherIds'), 'muted'),
    ids.slice(0, MAX_OTHER_IDS).map((id) => text(escapeMarkdown(clip(id, 300)))),
    andMore(context, ids.length - MAX_OTHER_IDS),
    table([
      [m.t('card.label.appVersion'), appVersion],
      [m.t('card.label.firstSeen'), firstSeenAtMs == null ? null : m.date(firstSeenAtMs)],
    ]),
    attributes.length > 0 && text(m.t('card.title.attributes'), 'header'),
    table(attributes.slice(0, MAX_ATTRIBUTES)),
    andMore(context, attributes.length - MAX_ATTRIBUTES),
    isEmpty && text(m.t('card.state.noTechnical'), 'muted'),
    button('details', m.t('card.button.details'), 'link'),
  ]);
}

async function snapshotOf({ app, request, customer }: CustomerContext): Promise<Snapshot | null> {
  const stored = await readSubscriber(app.readDatabase, request.workspaceId, customer.subscriberId);
  return stored?.snapshot ?? null;
}

/** Everything bought or granted: what gives access first, then the latest; test purchases last. */
function allSubscriptions({ description }: Customer): SubscriptionDescription[] {
  return [...description.subscriptions, ...description.grants, ...description.sandbox];
}

export function subscriptions(context: CustomerContext): InboxCanvas {
  const { messages: m } = context;
  const all = allSubscriptions(context.customer);
  return context.page([
    text(m.t('card.title.purchases'), 'header'),
    subscriptionBlocks(context, all.slice(0, MAX_SUBSCRIPTIONS)),
    all.length === 0 && text(m.t('card.state.noPurchases'), 'muted'),
    andMore(context, all.length - MAX_SUBSCRIPTIONS),
    button('details', m.t('card.button.details'), 'link'),
  ]);
}

/** A name, a table and the way to the store for each, then what only the stores can do. */
function subscriptionBlocks(context: CustomerContext, list: readonly SubscriptionDescription[]): Part[] {
  return [
    list.map((subscription, index) => subscriptionBlock(context, subscription, index)),
    storeNotes(context, list),
  ];
}

function subscriptionBlock(
  { messages: m }: CustomerContext,
  described: SubscriptionDescription,
  index: number,
): Part[] {
  const { subscription, product, what, price } = described;
  const { store, startedAtMs, environment, managementUrl } = subscription;
  // A refund of a purchase that is unknown here is negative, and not a payment.
  const paid = subscription.paid.filter(({ amountMinor }) => amountMinor > 0);
  return [
    text(`**${escapeMarkdown(clip(product || what || m.t('sentence.agent.unnamed'), 100))}**`),
    table([
      [m.t('card.label.status'), statusText(m, described.label)],
      [m.t('card.label.entitlement'), product ? what : null],
      [m.t('card.label.store'), store === 'PROMOTIONAL' ? null : storeText(m, store)],
      [m.t('card.label.price'), price && priceText(m, price)],
      [m.t('card.label.started'), startedAtMs === null ? null : m.date(startedAtMs)],
      ...endRow(m, described.end),
      [m.t('card.label.renewals'), subscription.renewals > 0 ? String(subscription.renewals) : null],
      [m.t('card.label.paid'), m.list(paid.map((money) => m.money(money)))],
      [m.t('card.label.environment'), environment === 'sandbox' ? m.t('card.environment.sandbox') : null],
      [m.t('card.label.familySharing'), subscription.isFamilyShare ? m.t('card.yes') : null],
      [m.t('card.label.transaction'), subscription.transactionId],
    ]),
    // It opens the customer's subscription. Apple's and Google's open the account of whoever clicks.
    isWebStore(store) &&
      managementUrl?.startsWith('https://') &&
      linkButton(`open-store:${index}`, m.t('card.button.manage'), managementUrl),
  ];
}

/** Shown before the agent promises what only the store can do. */
function storeNotes({ messages: m }: CustomerContext, list: readonly SubscriptionDescription[]): Part[] {
  const stores = list.flatMap(({ subscription: { environment, store } }) =>
    environment === 'production' ? [store] : [],
  );
  return [
    stores.some(isApple) && text(m.t('card.note.apple'), 'muted'),
    stores.includes('PLAY_STORE') && text(m.t('card.note.google'), 'muted'),
  ];
}
