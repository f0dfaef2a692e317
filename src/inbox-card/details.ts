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
import { type CardContext, type Customer, page } from './context.ts';
import { dashboardUrl } from './external-links.ts';
import { readSnapshot } from './store.ts';
import { allSubscriptions, subscriptionBlocks } from './subscriptions.ts';

const SUBSCRIPTIONS_HERE = 2;
const MAX_OTHER_IDS = 20;
const MAX_ATTRIBUTES = 25;

/** Who the customer is: what they have, ids, where they were seen, attributes. */
export async function details(context: CardContext, customer: Customer): Promise<InboxCanvas> {
  const { words, dates, services, request } = context;
  const { labels } = words;
  const { state, subscriber, link, project } = customer;
  const snapshot = await readSnapshot(services.readDatabase, request.workspaceId, subscriber.subscriberId);
  const all = allSubscriptions(customer);
  const components: Component[] = [];
  if (all.length > 0) {
    components.push(
      text(words.titles.subscriptions, 'header'),
      ...subscriptionBlocks(context, all.slice(0, SUBSCRIPTIONS_HERE)),
    );
  }
  if (all.length > SUBSCRIPTIONS_HERE) {
    components.push(button('subscriptions', `${words.buttons.subscriptions} (${all.length})`, 'secondary'));
  }
  components.push(text(words.titles.details, 'header'), ...ids(context, customer));
  const on = (atMs: number | null | undefined): string | null => (atMs == null ? null : dates.date(atMs));
  const value = { amountMinor: state.lifetimeValueUsdCents, currency: 'USD' };
  components.push(
    ...table([
      [labels.email, subscriber.email],
      [labels.lifetimeValue, context.messages.money(value)],
      [labels.country, snapshot?.country],
      [labels.platform, [snapshot?.platform, snapshot?.platformVersion].filter(Boolean).join(' ')],
      [labels.appVersion, snapshot?.appVersion],
      [labels.firstSeen, on(snapshot?.firstSeenAtMs)],
      [labels.lastSeen, on(snapshot?.lastSeenAtMs)],
      [labels.project, context.projects.length > 1 ? project.name : null],
      [labels.linkedBy, link && words.linkedBy(link.name, dates.date(link.atMs))],
      [labels.updated, subscriber.snapshotAtMs === null ? null : dates.dateTime(subscriber.snapshotAtMs)],
    ]),
  );
  const attributes = Object.entries(snapshot?.attributes ?? {});
  if (attributes.length > 0) {
    const left = attributes.length - MAX_ATTRIBUTES;
    components.push(
      text(words.titles.attributes, 'header'),
      ...table(attributes.slice(0, MAX_ATTRIBUTES)),
      ...(left > 0 ? [text(words.andMore(left), 'muted')] : []),
    );
  }
  if (project.apiKey === null) components.push(text(words.states.noKey, 'muted'));
  components.push(
    linkButton('open-revenuecat', words.buttons.openRevenueCat, dashboardUrl(customer)),
    button('match', words.buttons.findAnother, 'link'),
  );
  if (link !== null) components.push(button('unlink', words.buttons.unlink, 'link'));
  return page(context, components);
}

/** Each id in a text of its own, whole, so that it can be selected and copied: the inbox cuts what stands in tables. */
function ids(context: CardContext, customer: Customer): Component[] {
  const { words } = context;
  const others = customer.subscriber.appUserIds.filter((id) => id !== customer.appUserId);
  const shown = others.slice(0, MAX_OTHER_IDS);
  const components: Component[] = [
    text(words.labels.appUserId, 'muted', true),
    text(escapeMarkdown(clip(customer.appUserId, 300))),
  ];
  if (others.length > 0) {
    components.push(
      text(words.labels.otherIds, 'muted', true),
      ...shown.map((id, index) => text(escapeMarkdown(clip(id, 300)), 'paragraph', index < shown.length - 1)),
    );
  }
  if (others.length > shown.length)
    components.push(text(words.andMore(others.length - shown.length), 'muted'));
  return components;
}
