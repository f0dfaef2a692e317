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
import { findByAppUserIds, findByEmail, findByTransaction } from '../subscribers/find-store.ts';
import { appUserIdInText } from '../subscription/app-user-id-in-text.ts';
import { type Customer, first, page, type Visit } from './context.ts';
import { loadCustomer, type Match, usableExternalId } from './customer.ts';
import { estimatedHeight, HIGHEST_FIRST_CANVAS } from './height.ts';
import { overviewSentence } from './sentence.ts';
import { describeFound, type Found, readLinkedId } from './store.ts';

const MAX_FOUND = 10;
const MAX_QUERY_LENGTH = 300;

/** How a subscriber was found; kept in the audit log. */
export type FoundBy = 'app_user_id' | 'email' | 'transaction' | 'conversation' | 'possible_match';

type FoundByMap = Readonly<Record<string, string>>;

/** What a contact gets of whom nothing certain is known: who it may be, and a search. */
export async function unmatched(visit: Visit, match: Match): Promise<InboxCanvas> {
  const { states } = visit.words;
  const suggested = await suggestion(visit);
  const possible = match.kind === 'possible' ? match.found : [];
  const components: Component[] = [];
  const foundBy: Record<string, FoundBy> = {};
  if (suggested.found) {
    components.push(text(states.mentioned, 'muted'), ...foundList(visit, [suggested.found]));
    foundBy[suggested.found.subscriberId] = 'conversation';
  }
  const others = possible.filter((found) => found.subscriberId !== suggested.found?.subscriberId);
  if (others.length > 0) {
    components.push(text(others.length > 1 ? states.several : states.possibleMatch, 'muted'));
    const shown = fitting(visit, others, [...components, ...searchForm(visit, null)]);
    components.push(...foundList(visit, others, shown));
    for (const found of others) foundBy[found.subscriberId] = 'possible_match';
  }
  if (components.length === 0) {
    components.push(text(nobodySentence(visit), 'muted'));
  }
  components.push(...searchForm(visit, suggested.found ? null : suggested.id));
  return first(visit, components, Object.keys(foundBy).length > 0 ? { foundBy } : undefined);
}

function nobodySentence({ words: { states }, request }: Visit): string {
  const { isMissing, isGone, isLead } = request.contact;
  if (isMissing) return states.noContact;
  if (isGone) return states.contactDeleted;
  return isLead ? states.lead : states.noMatch;
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

/** The rest can be found by what is more exact than an e-mail. */
function foundList(visit: Visit, found: readonly Found[], most = MAX_FOUND): Component[] {
  const left = found.length - most;
  return [
    list(found.slice(0, most).map((entry) => foundItem(visit, entry))),
    ...(left > 0 ? [text(visit.words.andMore(left), 'muted')] : []),
  ];
}

/** How many of those found leave room for what else stands on a first canvas. */
function fitting(visit: Visit, found: readonly Found[], others: readonly Component[]): number {
  let most = Math.min(found.length, MAX_FOUND);
  while (most > 1 && estimatedHeight([...others, ...foundList(visit, found, most)]) > HIGHEST_FIRST_CANVAS) {
    most -= 1;
  }
  return most;
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
  const query = (request.inputs['match.query'] ?? '').trim().slice(0, MAX_QUERY_LENGTH);
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
  const found = described.filter((entry) => connected.has(entry.projectId));
  if (found.length === 0) {
    const { lookedUp, nothingFound } = words.states;
    return page(visit, [
      text(lookUp(visit, query) ? lookedUp : nothingFound, 'muted'),
      ...searchForm(visit, query),
    ]);
  }
  const shown = new Set(found.slice(0, MAX_FOUND).map((entry) => entry.subscriberId));
  const kept: FoundByMap = Object.fromEntries(Object.entries(foundBy).filter(([id]) => shown.has(id)));
  const { foundOne, foundMany } = words.states;
  return page(
    visit,
    [
      text(found.length > 1 ? foundMany : foundOne, 'muted'),
      ...foundList(visit, found),
      ...searchForm(visit, query),
    ],
    { foundBy: kept },
  );
}

/**
 * Has RevenueCat asked for somebody whom nobody knows here, as one who subscribed before the app was installed. The
 * card itself waits for nobody.
 *
 * @returns whether anybody is asked
 */
export function lookUp({ context, request, projects }: Visit, appUserId: string): boolean {
  const { importLater } = context;
  if (!importLater || usableExternalId(appUserId) === null) return false;
  const askable = projects.filter(({ apiKey, apiKeyState }) => apiKey !== null && apiKeyState !== 'rejected');
  for (const { projectId } of askable) importLater(request.workspaceId, projectId, appUserId);
  return askable.length > 0;
}

/** One in each of several projects: each with what most tickets ask, so that often no press is needed. */
export async function projectChoice(
  visit: Visit,
  candidates: readonly Visit['candidates'][number][],
): Promise<InboxCanvas> {
  const { words } = visit;
  const customers: Customer[] = [];
  for (const candidate of candidates.slice(0, MAX_FOUND)) {
    const customer = await loadCustomer(visit, candidate);
    if (customer) customers.push(customer);
  }
  const choice = (most: number): Component[] => [
    text(words.states.severalProjects, 'muted'),
    list(
      customers.map((customer, index) =>
        item(
          `match:${customer.subscriber.subscriberId}`,
          clip(customer.project.name, 40),
          index < most ? { subtitle: overviewSentence(visit, customer) } : {},
        ),
      ),
    ),
  ];
  // Every app must be there to choose: where there is no room for all sentences, the last go without.
  let most = customers.length;
  while (most > 0 && estimatedHeight(choice(most)) > HIGHEST_FIRST_CANVAS) most -= 1;
  return first(visit, choice(most));
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
  const { words, context, request, formState } = visit;
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
    { match: { subscriberId, foundBy: formState.foundBy?.[subscriberId] ?? 'app_user_id' } },
  );
}
