import { purchaseComponents } from '../grants/views/subscription.ts';
import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  table,
  text,
} from '../intercom/canvas.ts';
import { canShare } from '../messenger/share.ts';
import type { Snapshot } from '../subscription/types.ts';
import type { Customer, CustomerContext } from './context.ts';
import { allSubscriptions, subscriptionBlocks } from './subscriptions.ts';

const SUBSCRIPTIONS_HERE = 2;
const MAX_OTHER_IDS = 20;
const MAX_ATTRIBUTES = 25;

/** The customer in RevenueCat's dashboard, whose addresses leave out the project id's prefix. */
export function dashboardUrl({ project, appUserId }: Pick<Customer, 'project' | 'appUserId'>): string {
  const projectId = project.revenueCatProjectId.replace(/^proj_?/, '');
  return `https://app.revenuecat.com/projects/${inUrl(projectId)}/customers/${inUrl(appUserId)}`;
}

/** Also without what ends or marks a Markdown link. */
function inUrl(text: string): string {
  const code = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replaceAll(/[()*]/g, code);
}

/** What the customer has, and who they are. */
export function details(context: CustomerContext, snapshot: Snapshot | null): InboxCanvas {
  const { customer, messages: m, projects } = context;
  const { state, subscriber, project } = customer;
  const { link, snapshotAtMs } = subscriber;
  const all = allSubscriptions(customer);
  const date = (atMs: number | null | undefined): string | null => (atMs == null ? null : m.date(atMs));
  const hasMore = all.length > SUBSCRIPTIONS_HERE;
  const components: Component[] = [
    ...(all.length > 0 ? [text(m.t('card.title.subscriptions'), 'header')] : []),
    ...subscriptionBlocks(context, all.slice(0, SUBSCRIPTIONS_HERE)),
    ...(hasMore
      ? [button('subscriptions', `${m.t('card.button.subscriptions')} (${all.length})`, 'secondary')]
      : []),
    ...purchaseComponents(context),
    text(m.t('card.title.customer'), 'header'),
    text(m.t('card.label.appUserId'), 'muted', true),
    // Ids are texts of their own, so that they can be selected and copied: the inbox truncates tables.
    text(escapeMarkdown(clip(customer.appUserId, 300))),
    ...table([
      [m.t('card.label.email'), subscriber.email],
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
    ...(project.apiKey === null ? [text(m.t('card.state.noKey'), 'muted')] : []),
    button('technical', m.t('card.button.technical'), 'secondary'),
    ...(canShare(context.request.contact, subscriber.appUserIds)
      ? [button('share', m.t('card.button.share'), 'secondary')]
      : []),
    linkButton('open-revenuecat', m.t('card.button.openRevenueCat'), dashboardUrl(customer)),
    button('match', m.t('card.button.wrongCustomer'), 'link'),
    ...(link === null ? [] : [button('unlink', m.t('card.button.unlink'), 'link')]),
  ];
  return context.page(components, link === null ? undefined : { unlink: subscriber.subscriberId });
}

/** What an engineer asks for: every id, the app's version and the customer's attributes. */
export function technicalDetails(context: CustomerContext, snapshot: Snapshot | null): InboxCanvas {
  const { customer, messages: m } = context;
  const { appUserIds } = customer.subscriber;
  const ids = appUserIds.filter((id) => id !== customer.appUserId);
  const attributes = Object.entries(snapshot?.attributes ?? {});
  const { firstSeenAtMs } = snapshot ?? {};
  return context.page([
    text(m.t('card.button.technical'), 'header'),
    ...(ids.length > 0 ? [text(m.t('card.label.otherIds'), 'muted', true)] : []),
    ...ids.slice(0, MAX_OTHER_IDS).map((id) => text(escapeMarkdown(clip(id, 300)))),
    ...andMore(context, ids.length - MAX_OTHER_IDS),
    ...table([
      [m.t('card.label.appVersion'), snapshot?.appVersion],
      [m.t('card.label.firstSeen'), firstSeenAtMs == null ? null : m.date(firstSeenAtMs)],
    ]),
    ...(attributes.length > 0 ? [text(m.t('card.title.attributes'), 'header')] : []),
    ...table(attributes.slice(0, MAX_ATTRIBUTES)),
    ...andMore(context, attributes.length - MAX_ATTRIBUTES),
    button('details', m.t('card.button.details'), 'link'),
  ]);
}

function andMore({ messages: m }: CustomerContext, count: number): Component[] {
  return count > 0 ? [text(m.t('card.andMore', { count }), 'muted')] : [];
}
