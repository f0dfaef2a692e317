import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  table,
  text,
} from '../intercom/canvas.ts';
import { appUserIdInText } from '../subscribers/app-user-id-in-text.ts';
import { findByAppUserIds, findByEmail, findByTransaction } from '../subscribers/find-store.ts';
import { type Customer, first, page, type Visit } from './context.ts';
import { loadCustomer, type Match } from './customer.ts';
import { overviewSentence } from './sentence.ts';
import { describeFound, type Found, readLinkedId } from './store.ts';

const MOST_FOUND = 10;
const LONGEST_QUERY = 300;

/** How a subscriber was found; kept in the audit log. */
export type FoundBy = 'app_user_id' | 'email' | 'transaction' | 'conversation' | 'possible_match';

type FoundByMap = Readonly<Record<string, string>>;

/** What a contact gets of whom nothing certain is known: who it may be, and a search. */
export async function unmatched(visit: Visit, match: Match): Promise<InboxCanvas> {
  const { words, request } = visit;
  const { states } = words;
  const suggested = await suggestion(visit);
  const possible = match.kind === 'possible' ? match.found.slice(0, MOST_FOUND) : [];
  const components: Component[] = [];
  const foundBy: Record<string, FoundBy> = {};
  if (suggested.found) {
    components.push(text(states.mentioned, 'muted'), foundList(visit, [suggested.found]));
    foundBy[suggested.found.subscriberId] = 'conversation';
  }
  const others = possible.filter((found) => found.subscriberId !== suggested.found?.subscriberId);
  if (others.length > 0) {
    components.push(text(others.length > 1 ? states.several : states.possibleMatch, 'muted'));
    components.push(foundList(visit, others));
    for (const found of others) foundBy[found.subscriberId] = 'possible_match';
  }
  if (components.length === 0) {
    const { isGone, isLead } = request.contact;
    components.push(text(isGone ? states.contactDeleted : isLead ? states.lead : states.noMatch, 'muted'));
  }
  components.push(...searchForm(visit, suggested.found ? null : suggested.id));
  return first(visit, components, Object.keys(foundBy).length > 0 ? { foundBy } : undefined);
}

/** An app user id that stands in the conversation, with the subscriber that it names. */
async function suggestion(visit: Visit): Promise<{ id: string | null; found: Found | null }> {
  const { request, context } = visit;
  for (const body of request.conversationTexts()) {
    const id = appUserIdInText(body);
    if (id === null) continue;
    const [found] = await findByAppUserIds(context.readDatabase, request.workspaceId, [id]);
    if (!found) return { id, found: null };
    const [shown] = await describeFound(context.readDatabase, request.workspaceId, [found.subscriberId]);
    return { id, found: shown ? { ...shown, appUserId: id } : null };
  }
  return { id: null, found: null };
}

function searchForm(visit: Visit, query: string | null): Component[] {
  const { words } = visit;
  return [
    {
      type: 'input',
      id: 'match.query',
      label: words.searchLabel,
      placeholder: words.searchPlaceholder,
      ...(query === null ? {} : { value: query }),
    },
    button('match.search', words.buttons.search, 'secondary'),
  ];
}

function foundList(visit: Visit, found: readonly Found[]): Component {
  return list(found.slice(0, MOST_FOUND).map((entry) => foundItem(visit, entry)));
}

function foundItem(visit: Visit, found: Found): ListItem {
  const { projects, dates } = visit;
  const project = projects.find((known) => known.projectId === found.projectId);
  const about = [found.email, projects.length > 1 ? project?.name : null].filter(Boolean);
  return item(`match:${found.subscriberId}`, found.appUserId, {
    subtitle: about.join(visit.words.events.separator),
    ...(found.lastEventAtMs === null ? {} : { tertiary: dates.date(found.lastEventAtMs) }),
  });
}

/** The search by itself, for a contact that matches somebody already. */
export function searchView(visit: Visit): InboxCanvas {
  const { words } = visit;
  return page(visit, [text(words.titles.match, 'header'), ...searchForm(visit, null)]);
}

/** By app user id, e-mail and transaction id, whichever finds somebody. */
export async function search(visit: Visit): Promise<InboxCanvas> {
  const { words, request, context } = visit;
  const query = (request.inputs['match.query'] ?? '').trim().slice(0, LONGEST_QUERY);
  if (query === '') {
    return page(visit, [text(words.states.emptySearch, 'muted'), ...searchForm(visit, null)]);
  }
  const sql = context.readDatabase;
  const { workspaceId } = request;
  const [byId, byEmail, byTransaction] = await Promise.all([
    findByAppUserIds(sql, workspaceId, [query]),
    query.includes('@') ? findByEmail(sql, workspaceId, query) : [],
    findByTransaction(sql, workspaceId, query),
  ]);
  const foundBy: Record<string, FoundBy> = {};
  for (const { subscriberId } of byId) foundBy[subscriberId] ??= 'app_user_id';
  for (const { subscriberId } of byEmail) foundBy[subscriberId] ??= 'email';
  for (const { subscriberId } of byTransaction) foundBy[subscriberId] ??= 'transaction';
  const described = await describeFound(sql, workspaceId, Object.keys(foundBy));
  const connected = new Set(visit.projects.map((project) => project.projectId));
  const found = described.filter((entry) => connected.has(entry.projectId)).slice(0, MOST_FOUND);
  if (found.length === 0) {
    return page(visit, [text(words.states.nothingFound, 'muted'), ...searchForm(visit, query)]);
  }
  const shown = new Set(found.map((entry) => entry.subscriberId));
  const kept: FoundByMap = Object.fromEntries(Object.entries(foundBy).filter(([id]) => shown.has(id)));
  return page(
    visit,
    [text(words.states.foundMany, 'muted'), foundList(visit, found), ...searchForm(visit, query)],
    { foundBy: kept },
  );
}

/** One in each of several projects: each with what most tickets ask, so that often no press is needed. */
export async function projectChoice(
  visit: Visit,
  candidates: readonly Visit['candidates'][number][],
): Promise<InboxCanvas> {
  const { words } = visit;
  const items: ListItem[] = [];
  for (const candidate of candidates.slice(0, MOST_FOUND)) {
    const customer = await loadCustomer(visit, candidate);
    if (!customer) continue;
    items.push(
      item(`match:${candidate.subscriberId}`, clip(customer.project.name, 100), {
        subtitle: overviewSentence(visit, customer),
      }),
    );
  }
  return first(visit, [text(words.states.severalProjects, 'muted'), list(items)]);
}

/** Any subscriber of this workspace, by its id; `null`: there is none. */
export async function findCustomer(visit: Visit, subscriberId: string): Promise<Customer | null> {
  if (!UUID.test(subscriberId)) return null;
  const { context, request } = visit;
  const nobody = { contactId: '', externalId: null };
  const read = await context.readCard.card(request.workspaceId, { ...nobody, chosen: subscriberId });
  const [candidate] = read?.candidates ?? [];
  return candidate ? loadCustomer(visit, candidate) : null;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Shows whom the link would be to, and asks. */
export async function matchReview(visit: Visit, subscriberId: string): Promise<InboxCanvas> {
  const { words, context, request, carried } = visit;
  const customer = await findCustomer(visit, subscriberId);
  if (!customer) return page(visit, [text(words.states.gone, 'muted'), ...searchForm(visit, null)]);
  const { contact, workspaceId } = request;
  const canLink = contact.id !== '' && !contact.isGone;
  const { project, subscriber, appUserId } = customer;
  const before = canLink
    ? await readLinkedId(context.readDatabase, workspaceId, contact.id, project.projectId)
    : null;
  const replaced = before === null || before === subscriberId ? null : await findCustomer(visit, before);
  return page(
    visit,
    [
      text(words.titles.review, 'header'),
      text(escapeMarkdown(clip(overviewSentence(visit, customer), 500))),
      ...table([
        [words.labels.appUserId, appUserId],
        [words.labels.email, subscriber.email],
        [words.labels.project, visit.projects.length > 1 ? project.name : null],
      ]),
      ...(replaced ? [text(words.replaces(escapeMarkdown(replaced.appUserId)), 'muted')] : []),
      text(canLink ? words.states.linkExplained : words.states.lookExplained, 'muted'),
      button('match.confirm', canLink ? words.buttons.link : words.buttons.look, 'primary'),
    ],
    { match: { subscriberId, foundBy: carried.foundBy?.[subscriberId] ?? 'app_user_id' } },
  );
}
