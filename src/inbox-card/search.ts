import { overviewText } from '../i18n/sentences.ts';
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
import { type CardContext, type Customer, first, page } from './context.ts';
import { loadCustomer, type Match, usableExternalId } from './customer.ts';
import { estimatedHeight, HIGHEST_FIRST_CANVAS } from './height.ts';
import { describeFound, type Found, readLinkedId } from './store.ts';

const MAX_FOUND = 10;
const MAX_QUERY_LENGTH = 300;

/** How a subscriber was found; kept in the audit log. */
export type FoundBy = 'app_user_id' | 'email' | 'transaction' | 'conversation' | 'possible_match';

type FoundByMap = Readonly<Record<string, string>>;

/** What a contact gets of whom nothing certain is known: who it may be, and a search. */
export async function unmatched(context: CardContext, match: Match): Promise<InboxCanvas> {
  const { states } = context.words;
  const suggested = await suggestion(context);
  const possible = match.kind === 'possible' ? match.found : [];
  const components: Component[] = [];
  const foundBy: Record<string, FoundBy> = {};
  if (suggested.found) {
    components.push(text(states.mentioned, 'muted'), ...foundList(context, [suggested.found]));
    foundBy[suggested.found.subscriberId] = 'conversation';
  }
  const others = possible.filter((found) => found.subscriberId !== suggested.found?.subscriberId);
  if (others.length > 0) {
    components.push(text(others.length > 1 ? states.several : states.possibleMatch, 'muted'));
    const shown = fitting(context, others, [...components, ...searchForm(context, null)]);
    components.push(...foundList(context, others, shown));
    for (const found of others) foundBy[found.subscriberId] = 'possible_match';
  }
  if (components.length === 0) {
    components.push(text(nobodySentence(context), 'muted'));
  }
  components.push(...searchForm(context, suggested.found ? null : suggested.id));
  return first(context, components, Object.keys(foundBy).length > 0 ? { foundBy } : undefined);
}

function nobodySentence({ words: { states }, request }: CardContext): string {
  const { isMissing, isGone, isLead } = request.contact;
  if (isMissing) return states.noContact;
  if (isGone) return states.contactDeleted;
  return isLead ? states.lead : states.noMatch;
}

/** An app user id that stands in the conversation, with the subscriber that it names. */
async function suggestion(context: CardContext): Promise<{ id: string | null; found: Found | null }> {
  const { request, services } = context;
  for (const body of request.conversationTexts()) {
    const id = appUserIdInText(body);
    if (id === null) continue;
    const [found] = await findByAppUserIds(services.readDatabase, request.workspaceId, [id]);
    if (!found) return { id, found: null };
    const [shown] = await describeFound(services.readDatabase, request.workspaceId, [found.subscriberId]);
    return { id, found: shown ? { ...shown, appUserId: id } : null };
  }
  return { id: null, found: null };
}

function searchForm(context: CardContext, query: string | null): Component[] {
  const { words } = context;
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
function foundList(context: CardContext, found: readonly Found[], most = MAX_FOUND): Component[] {
  const left = found.length - most;
  return [
    list(found.slice(0, most).map((entry) => foundItem(context, entry))),
    ...(left > 0 ? [text(context.words.andMore(left), 'muted')] : []),
  ];
}

/** How many of those found leave room for what else stands on a first canvas. */
function fitting(context: CardContext, found: readonly Found[], others: readonly Component[]): number {
  let most = Math.min(found.length, MAX_FOUND);
  while (
    most > 1 &&
    estimatedHeight([...others, ...foundList(context, found, most)]) > HIGHEST_FIRST_CANVAS
  ) {
    most -= 1;
  }
  return most;
}

function foundItem(context: CardContext, found: Found): ListItem {
  const { projects, dates } = context;
  const project = projects.find((known) => known.projectId === found.projectId);
  const about = [found.email, projects.length > 1 ? project?.name : null].filter(Boolean);
  return item(`match:${found.subscriberId}`, found.appUserId, {
    subtitle: about.join(' · '),
    ...(found.lastEventAtMs === null ? {} : { tertiary: dates.date(found.lastEventAtMs) }),
  });
}

/** The search by itself, for a contact that matches somebody already. */
export function searchView(context: CardContext): InboxCanvas {
  const { words } = context;
  return page(context, [text(words.titles.match, 'header'), ...searchForm(context, null)]);
}

/** By app user id, e-mail and transaction id, whichever finds somebody. */
export async function search(context: CardContext): Promise<InboxCanvas> {
  const { words, request, services } = context;
  const query = (request.inputs['match.query'] ?? '').trim().slice(0, MAX_QUERY_LENGTH);
  if (query === '') {
    return page(context, [text(words.states.emptySearch, 'muted'), ...searchForm(context, null)]);
  }
  const sql = services.readDatabase;
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
  const connected = new Set(context.projects.map((project) => project.projectId));
  const found = described.filter((entry) => connected.has(entry.projectId));
  if (found.length === 0) {
    const { lookedUp, nothingFound } = words.states;
    return page(context, [
      text(lookUp(context, query) ? lookedUp : nothingFound, 'muted'),
      ...searchForm(context, query),
    ]);
  }
  const shown = new Set(found.slice(0, MAX_FOUND).map((entry) => entry.subscriberId));
  const kept: FoundByMap = Object.fromEntries(Object.entries(foundBy).filter(([id]) => shown.has(id)));
  const { foundOne, foundMany } = words.states;
  return page(
    context,
    [
      text(found.length > 1 ? foundMany : foundOne, 'muted'),
      ...foundList(context, found),
      ...searchForm(context, query),
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
export function lookUp({ services, request, projects }: CardContext, appUserId: string): boolean {
  const { importLater } = services;
  if (!importLater || usableExternalId(appUserId) === null) return false;
  const askable = projects.filter(({ apiKey, apiKeyState }) => apiKey !== null && apiKeyState !== 'rejected');
  for (const { projectId } of askable) importLater(request.workspaceId, projectId, appUserId);
  return askable.length > 0;
}

/** One in each of several projects: each with what most tickets ask, so that often no press is needed. */
export async function projectChoice(
  context: CardContext,
  candidates: readonly CardContext['candidates'][number][],
): Promise<InboxCanvas> {
  const { words } = context;
  const customers: Customer[] = [];
  for (const candidate of candidates.slice(0, MAX_FOUND)) {
    const customer = await loadCustomer(context, candidate);
    if (customer) customers.push(customer);
  }
  const choice = (most: number): Component[] => [
    text(words.states.severalProjects, 'muted'),
    list(
      customers.map((customer, index) =>
        item(
          `match:${customer.subscriber.subscriberId}`,
          clip(customer.project.name, 40),
          index < most ? { subtitle: overviewText(context.messages, customer.description) } : {},
        ),
      ),
    ),
  ];
  // Every app must be there to choose: where there is no room for all sentences, the last go without.
  let most = customers.length;
  while (most > 0 && estimatedHeight(choice(most)) > HIGHEST_FIRST_CANVAS) most -= 1;
  return first(context, choice(most));
}

/** Any subscriber of this workspace, by its id; `null`: there is none. */
export async function findCustomer(context: CardContext, subscriberId: string): Promise<Customer | null> {
  if (!UUID.test(subscriberId)) return null;
  const { services, request } = context;
  const nobody = { contactId: '', externalId: null };
  const read = await services.readCard.card(request.workspaceId, { ...nobody, chosen: subscriberId });
  const [candidate] = read?.candidates ?? [];
  return candidate ? loadCustomer(context, candidate) : null;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Shows whom the link would be to, and asks. */
export async function matchReview(context: CardContext, subscriberId: string): Promise<InboxCanvas> {
  const { words, services, request, formState } = context;
  const customer = await findCustomer(context, subscriberId);
  if (!customer) return page(context, [text(words.states.gone, 'muted'), ...searchForm(context, null)]);
  const { contact, workspaceId } = request;
  const canLink = contact.id !== '' && !contact.isGone;
  const { project, subscriber, appUserId } = customer;
  const before = canLink
    ? await readLinkedId(services.readDatabase, workspaceId, contact.id, project.projectId)
    : null;
  const replaced = before === null || before === subscriberId ? null : await findCustomer(context, before);
  return page(
    context,
    [
      text(words.titles.review, 'header'),
      text(escapeMarkdown(clip(overviewText(context.messages, customer.description), 500))),
      ...table([
        [words.labels.appUserId, appUserId],
        [words.labels.email, subscriber.email],
        [words.labels.project, context.projects.length > 1 ? project.name : null],
      ]),
      ...(replaced ? [text(words.replaces(escapeMarkdown(replaced.appUserId)), 'muted')] : []),
      text(canLink ? words.states.linkExplained : words.states.lookExplained, 'muted'),
      button('match.confirm', canLink ? words.buttons.link : words.buttons.look, 'primary'),
    ],
    { match: { subscriberId, foundBy: formState.foundBy?.[subscriberId] ?? 'app_user_id' } },
  );
}
