import { purchaseComponents } from '../grants/views/purchase.ts';
import {
  andMore,
  button,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  type Part,
  table,
  text,
  tightText,
} from '../intercom/canvas.ts';
import { readSubscriber } from '../subscribers/repository.ts';
import type { Snapshot } from '../subscription/types.ts';
import { revenueCatButton } from './context.ts';
import { type CustomerContext, canShare, hasGrantsOrActions } from './customer.ts';

const MAX_OTHER_IDS = 20;
const MAX_ATTRIBUTES = 25;

export async function details(context: CustomerContext): Promise<InboxCanvas> {
  const snapshot = await snapshotOf(context);
  const { customer, messages: m, projects } = context;
  const { state, project, link, snapshotAtMs } = customer;
  const date = (atMs: number | null | undefined): string | null => (atMs == null ? null : m.date(atMs));
  const parts: Part[] = [
    purchaseComponents(context),
    // The overview has no room for it beside long sentences.
    hasGrantsOrActions(customer) && button('grants', m.t('card.button.grants'), 'secondary'),
    text(m.t('card.title.customer'), 'header'),
    tightText(m.t('card.label.appUserId'), 'muted'),
    // Each id is a separate text, so that it can be selected and copied: the inbox truncates tables.
    text(escapeMarkdown(clip(customer.appUserId, 300))),
    table([
      [m.t('card.label.email'), customer.email],
      [
        m.t('card.label.lifetimeValue'),
        state.lifetimeValueUsdCents === null
          ? null
          : m.money({ amountMinor: state.lifetimeValueUsdCents, currency: 'USD' }),
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
    andMore(m, ids.length - MAX_OTHER_IDS),
    table([
      [m.t('card.label.appVersion'), appVersion],
      [m.t('card.label.firstSeen'), firstSeenAtMs == null ? null : m.date(firstSeenAtMs)],
    ]),
    attributes.length > 0 && text(m.t('card.title.attributes'), 'header'),
    table(attributes.slice(0, MAX_ATTRIBUTES)),
    andMore(m, attributes.length - MAX_ATTRIBUTES),
    isEmpty && text(m.t('card.state.noTechnical'), 'muted'),
    button('details', m.t('card.button.details'), 'link'),
  ]);
}

async function snapshotOf({ app, request, customer }: CustomerContext): Promise<Snapshot | null> {
  const stored = await readSubscriber(app.readDatabase, request.workspaceId, customer.subscriberId);
  return stored?.snapshot ?? null;
}
