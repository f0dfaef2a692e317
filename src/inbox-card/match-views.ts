import { writeAudit } from '../grants/store.ts';
import {
  button,
  type Component,
  canvas,
  escapeMarkdown,
  type InboxCanvas,
  item,
  list,
  text,
} from '../intercom/canvas.ts';
import { appUserIdInText } from '../subscribers/app-user-id-in-text.ts';
import { preferredAppUserIds } from '../subscribers/identities.ts';
import {
  deleteLink,
  type FoundSubscriber,
  findByAppUserIds,
  findByEmail,
  findByTransaction,
  makeDue,
  readSubscriber,
  saveLink,
} from '../subscribers/store.ts';
import { type Customer, page, type Visit } from './context.ts';
import { distinct } from './customer.ts';

/** The search, as the first canvas of a contact whom nobody knows yet. */
export function matchForm(
  visit: Visit,
  sentence: string,
  found: readonly FoundSubscriber[] = [],
): InboxCanvas {
  const { words } = visit;
  const suggested =
    visit.request.conversationBody === null ? null : appUserIdInText(visit.request.conversationBody);
  const components: Component[] = [text(sentence, 'muted')];
  if (found.length > 0) components.push(foundList(found));
  components.push({
    type: 'input',
    id: 'match.query',
    label: words.searchLabel,
    placeholder: words.searchPlaceholder,
    ...(suggested ? { value: suggested } : {}),
  });
  components.push(button('match.search', words.buttons.search, 'secondary'));
  return visit.request.componentId === null || visit.request.componentId === 'home'
    ? canvas(components)
    : page(visit, components);
}

function foundList(found: readonly FoundSubscriber[]): Component {
  return list(
    found
      .slice(0, 10)
      .map((entry) => item(`match:${entry.subscriberId}`, entry.appUserId || entry.subscriberId)),
  );
}

export async function search(visit: Visit): Promise<InboxCanvas> {
  const { words, request, context } = visit;
  const query = (request.inputs['match.query'] ?? '').trim();
  if (query === '') return matchForm(visit, words.states.emptySearch);
  const sql = context.readDatabase;
  const found = distinct([
    ...(await findByAppUserIds(sql, request.workspaceId, [query])),
    ...(query.includes('@') ? await findByEmail(sql, request.workspaceId, query) : []),
    ...(await findByTransaction(sql, request.workspaceId, query)),
  ]);
  return matchForm(visit, found.length === 0 ? words.states.nothingFound : words.states.several, found);
}

/** Shows whom the link would be to, and asks. */
export async function matchReview(visit: Visit, subscriberId: string): Promise<InboxCanvas> {
  const { words, context, request } = visit;
  const subscriber = await readSubscriberById(visit, subscriberId);
  if (!subscriber) return page(visit, [text(words.states.gone, 'muted')]);
  const [appUserId = ''] = preferredAppUserIds(subscriber.appUserIds);
  context.logger.debug({ workspaceId: request.workspaceId }, 'link reviewed');
  return page(
    visit,
    [
      text(words.titles.match, 'header', true),
      text(`${words.labels.appUserId}: ${escapeMarkdown(appUserId)}`),
      ...(subscriber.email
        ? [text(`${words.labels.email}: ${escapeMarkdown(subscriber.email)}`, 'muted')]
        : []),
      button('match.confirm', words.buttons.link, 'primary'),
    ],
    { match: subscriberId },
  );
}

export async function matchConfirm(visit: Visit): Promise<InboxCanvas> {
  const { words, context, request, carried } = visit;
  const subscriber = carried.match === undefined ? null : await readSubscriberById(visit, carried.match);
  if (!subscriber || request.contact.id === '') return page(visit, [text(words.states.tampered, 'error')]);
  const [appUserId = ''] = preferredAppUserIds(subscriber.appUserIds);
  const { workspaceId } = request;
  await context.database.transaction(async (sql) => {
    await saveLink(sql, {
      workspaceId,
      contactId: request.contact.id,
      projectId: subscriber.projectId,
      subscriberId: subscriber.subscriberId,
      madeBy: { id: request.admin.id, name: request.admin.name },
    });
    await auditLink(visit, sql, 'link', subscriber.subscriberId, appUserId);
    await makeDue(sql, workspaceId, subscriber.subscriberId);
  });
  return page(visit, [text(words.linked(escapeMarkdown(appUserId)))]);
}

export async function unlink(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { context, request } = visit;
  const { subscriberId } = customer.subscriber;
  await context.database.transaction(async (sql) => {
    await deleteLink(sql, request.workspaceId, request.contact.id, subscriberId);
    await auditLink(visit, sql, 'unlink', subscriberId, customer.appUserId);
  });
  return page(visit, [text(visit.words.unlinked)]);
}

async function auditLink(
  visit: Visit,
  sql: Parameters<typeof writeAudit>[0],
  action: 'link' | 'unlink',
  subscriberId: string,
  appUserId: string,
): Promise<void> {
  const { request } = visit;
  await writeAudit(sql, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    action,
    conversationId: request.conversationId,
    contactId: request.contact.id,
    subscriberId,
    details: { app_user_id: appUserId },
    result: 'done',
  });
}

const UUID = /^[0-9a-f-]{36}$/i;

async function readSubscriberById(visit: Visit, subscriberId: string) {
  return UUID.test(subscriberId)
    ? readSubscriber(visit.context.database, visit.request.workspaceId, subscriberId)
    : null;
}
