import { AppError, answerOrError } from '../errors.ts';
import { overviewText } from '../i18n/sentences.ts';
import {
  andMore,
  button,
  type Component,
  clip,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  type Part,
  text,
} from '../intercom/canvas.ts';
import { queueCustomerImport } from '../subscribers/jobs.ts';
import { type FoundSubscriber, searchSubscribers } from '../subscribers/search.ts';
import { appUserIdInText } from '../subscription/app-user-id-in-text.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { cut } from '../text.ts';
import { withTimeout } from '../time.ts';
import { queueKeyCheck } from '../workspaces/key-state.ts';
import type { Project } from '../workspaces/projects.ts';
import { canReadCustomers, missingToReadCustomers } from '../workspaces/revenuecat-key.ts';
import type { CardApp, CardContext, FormState, FoundBy } from './context.ts';
import { certainCandidate, loadCustomer } from './customer.ts';
import { cutSentences } from './overview.ts';

const MAX_FOUND = 10;
const mayBeEmail = (query: string): boolean => query.includes('@');
/** A first canvas may be 400 px high: it lists this many customers with the contact's e-mail, and the search more. */
const MAX_POSSIBLE = 2;
/** For the same reason, customers in several projects get a sentence only if there are no more than this. */
const MAX_WITH_SENTENCE = 3;
const MAX_SENTENCE_LENGTH = 140;
/** RevenueCat refuses a longer one. Source: its API v2, `store_subscription_identifier` and `search`. */
const MAX_QUERY_LENGTH = 255;
/** How long the agent waits for RevenueCat when nothing is stored. */
const SEARCH_TIMEOUT_MS = 2_000;
/** However often the card of an unknown customer is opened, they are imported once in this time. */
const IMPORT_INTERVAL_S = 60;

interface PossibleCustomer extends Omit<FoundSubscriber, 'foundBy'> {
  readonly foundBy: FoundBy;
}

/** What any view shows for a contact whose customer is not certain. */
export function withoutCustomer(context: CardContext): Promise<InboxCanvas> {
  return context.candidates.length > 1 ? chooseProject(context) : unmatched(context);
}

/** Lists one customer in each of several projects. A short list also answers what most tickets ask, to save a click. */
export async function chooseProject(context: CardContext): Promise<InboxCanvas> {
  const { messages: m } = context;
  const customers = await Promise.all(
    context.candidates.slice(0, MAX_FOUND).map((candidate) => loadCustomer(context.app, candidate)),
  );
  const about = ({ description }: (typeof customers)[number]) =>
    customers.length <= MAX_WITH_SENTENCE
      ? { subtitle: cutSentences(overviewText(m, description), MAX_SENTENCE_LENGTH) }
      : {};
  const items = customers.map((customer) =>
    item(`match:${customer.subscriberId}`, clip(customer.project.name, 35), about(customer)),
  );
  return context.page([text(m.t('match.state.severalProjects'), 'muted'), list(items)]);
}

/** Shown for a contact without a certain match: who it may be by the conversation and by e-mail, and a search. */
async function unmatched(context: CardContext): Promise<InboxCanvas> {
  const { messages: m, request } = context;
  const byEmail = await findByEmail(context);
  // An unknown customer may have subscribed long ago: import them for the next card.
  const { externalId } = request.contact;
  if (byEmail.length === 0 && externalId !== null) importFromRevenueCat(context, externalId);
  const ids = request.conversationTexts().values().map(appUserIdInText);
  const mentionedId = ids.find((id) => id !== null) ?? null;
  const mentioned = mentionedId === null ? [] : await findMentioned(context, mentionedId);
  const possible = byEmail
    .filter(({ subscriberId }) => mentioned.every((each) => each.subscriberId !== subscriberId))
    .map((each): PossibleCustomer => ({ ...each, foundBy: 'possible_match' }));
  // An id that is unknown here is filled into the search field.
  const form = searchForm(context, mentioned.length > 0 ? null : mentionedId);
  const mentionedParts = mentioned.length > 0 && [
    text(m.t('match.state.mentioned'), 'muted'),
    foundList(context, mentioned),
  ];
  const possibleParts = possible.length > 0 && [
    text(m.t('match.state.possible', { count: possible.length }), 'muted'),
    foundList(context, possible, mentionedParts ? 1 : MAX_POSSIBLE),
  ];
  const isUnknown = !mentionedParts && !possibleParts;
  const parts = [mentionedParts, possibleParts, isUnknown && text(noMatchText(context), 'muted'), form];
  return context.page(parts, listState([...mentioned, ...possible]));
}

/**
 * Searches only if the workspace matches by e-mail. Anyone with the app's public key can set an e-mail, so a result is
 * only a possible match.
 */
async function findByEmail({ request, workspace, app }: CardContext): Promise<readonly FoundSubscriber[]> {
  const { email } = request.contact;
  if (email === null || !workspace.settings.contacts.matchByEmail) return [];
  const search = { text: email, fields: ['email'] } as const;
  return searchSubscribers(app.readDatabase, request.workspaceId, search);
}

/** The subscriber whose app user id the conversation names: one at most. */
async function findMentioned({ request, app }: CardContext, appUserId: string): Promise<PossibleCustomer[]> {
  const search = { text: appUserId, fields: ['app_user_id'] } as const;
  const found = await searchSubscribers(app.readDatabase, request.workspaceId, search);
  return found.slice(0, 1).map((each) => ({ ...each, appUserId, foundBy: 'conversation' }));
}

function noMatchText({ messages: m, request: { contact } }: CardContext): string {
  if (contact.isMissing) return m.t('match.state.noContact');
  if (contact.isArchivedOrDeleted) return m.t('match.state.contactDeleted');
  return m.t(contact.isLead ? 'match.state.lead' : 'match.state.noMatch');
}

/** The search alone, for a contact that already has a customer. */
export function searchView(context: CardContext): InboxCanvas {
  const { messages: m } = context;
  const candidate = certainCandidate(context);
  const parts = [text(m.t('match.title.search'), 'header'), searchForm(context, null)];
  if (!candidate?.link) return context.page(parts);
  // If none is the right customer, the link can be removed.
  const unlink = button('unlink', m.t('card.button.unlink'), 'link');
  return context.page([...parts, unlink], { unlink: candidate.subscriberId });
}

export function searchForm({ messages: m }: CardContext, query: string | null): Component[] {
  return [
    {
      type: 'input',
      id: 'match.query',
      label: m.t('match.query'),
      placeholder: 'user_123',
      ...(query === null ? {} : { value: query }),
    },
    button('match.search', m.t('match.button.search'), 'secondary'),
  ];
}

/** Searches the connected projects by app user id, e-mail and transaction id; then RevenueCat. */
export async function searchResults(context: CardContext): Promise<InboxCanvas> {
  const { messages: m, request, projects } = context;
  const query = cut((request.inputs['match.query'] ?? '').trim(), MAX_QUERY_LENGTH);
  const form = searchForm(context, query);
  if (query === '') return context.page([text(m.t('match.state.emptySearch'), 'muted'), form]);
  const stored = await searchSubscribers(context.app.readDatabase, request.workspaceId, {
    text: query,
    fields: mayBeEmail(query) ? ['app_user_id', 'email', 'transaction'] : ['app_user_id', 'transaction'],
  });
  const connected = stored.filter((each) => projects.some(({ projectId }) => projectId === each.projectId));
  const { found, isImporting } =
    connected.length > 0 ? { found: connected, isImporting: false } : await searchRevenueCat(context, query);
  if (found.length === 0) {
    const sentence = m.t(isImporting ? 'match.state.lookedUp' : 'match.state.nothingFound');
    return context.page([text(sentence, 'muted'), unsearchedText(context), form]);
  }
  return context.page(
    [text(m.t('match.state.found', { count: found.length }), 'muted'), foundList(context, found), form],
    listState(found.slice(0, MAX_FOUND)),
  );
}

/** Why RevenueCat was not searched, for at least one project. */
function unsearchedText({ messages: m, projects }: CardContext): Part {
  const unsearched = projects.filter((project) => !canReadCustomers(project));
  if (unsearched.length === 0) return false;
  if (unsearched.some(({ apiKeyState }) => apiKeyState === 'rejected'))
    return text(m.t('card.state.keyRejected'), 'muted');
  const scopes = [...new Set(unsearched.flatMap(missingToReadCustomers))];
  const sentence =
    scopes.length === 0
      ? m.t('card.state.noKey')
      : m.t('match.state.scopeMissing', { scopes: m.list(scopes) });
  return text(sentence, 'muted');
}

/** Lists at most `max` customers. A search by id or transaction finds the rest. */
function foundList(context: CardContext, found: readonly PossibleCustomer[], max = MAX_FOUND): Part[] {
  return [
    list(found.slice(0, max).map((entry) => foundItem(context, entry))),
    andMore(context.messages, found.length - max),
  ];
}

function foundItem({ projects, messages: m, request }: CardContext, found: PossibleCustomer): ListItem {
  const project = projects.find(({ projectId }) => projectId === found.projectId);
  const lastEvent =
    found.lastEventAtMs === null ? null : m.t('card.lastEvent', { date: m.date(found.lastEventAtMs) });
  const email = found.email === request.contact.email ? null : found.email;
  const about = [email, projects.length > 1 ? project?.name : null, lastEvent];
  return item(`match:${found.subscriberId}`, clip(found.appUserId, 50), {
    subtitle: about.filter(Boolean).join(' · '),
  });
}

/** Stores how each listed customer was found, for the audit log. */
function listState(listed: readonly PossibleCustomer[]): FormState {
  if (listed.length === 0) return {};
  return { foundBy: Object.fromEntries(listed.map(({ subscriberId, foundBy }) => [subscriberId, foundBy])) };
}

/** RevenueCat finds a customer by any id, e-mail, transaction or order. Customers who are unknown here are imported. */
async function searchRevenueCat(
  context: CardContext,
  query: string,
): Promise<{ found: PossibleCustomer[]; isImporting: boolean }> {
  const { app, request, projects } = context;
  const reads = projects.map(async (project) => ({ project, ids: await findIds(context, project, query) }));
  const by = mayBeEmail(query) ? 'email' : 'transaction';
  const found: PossibleCustomer[] = [];
  let isImporting = false;
  for (const { project, ids } of await Promise.all(reads)) {
    for (const appUserId of ids) {
      const byId = { text: appUserId, fields: ['app_user_id'] } as const;
      const stored = await searchSubscribers(app.readDatabase, request.workspaceId, byId);
      const match = stored.find(({ projectId }) => projectId === project.projectId);
      if (match) found.push({ ...match, foundBy: appUserId === query ? 'app_user_id' : by });
      else if (importFromRevenueCat(context, appUserId, [project])) isImporting = true;
    }
  }
  return { found, isImporting };
}

/** The query, unless RevenueCat says that it is no customer's id, and the customers whose e-mail or order it is. */
async function findIds({ app }: CardContext, project: Project, query: string): Promise<string[]> {
  // `importFromRevenueCat` then queues a check of the key's permissions.
  if (!canReadCustomers(project)) return [query];
  const searching = answerOrError(searchIds(app, project, query));
  const answer = await withTimeout(searching, SEARCH_TIMEOUT_MS, () => [query]);
  if (!(answer instanceof AppError)) return answer;
  const { workspaceId } = project;
  app.logger.warn({ code: answer.code, workspaceId }, 'customer not searched in RevenueCat');
  return [query];
}

async function searchIds(app: CardApp, project: Project, query: string): Promise<string[]> {
  const { revenueCatProjectId } = project;
  const client = app.revenueCat(project, { timeoutMs: SEARCH_TIMEOUT_MS });
  if (client === null) return [];
  const [customer, others] = await Promise.all([
    isBlockedId(query) ? null : client.getCustomer(revenueCatProjectId, query),
    mayBeEmail(query)
      ? client.findByEmail(revenueCatProjectId, query)
      : client.findBuyers(revenueCatProjectId, query),
  ]);
  const rest = others.filter((id) => id !== customer?.id).slice(0, MAX_FOUND);
  return customer === null ? rest : [query, ...rest];
}

/** Queues an import of a customer who may have subscribed before the app was installed. `false`: none can be. */
function importFromRevenueCat(
  { app, request, projects: all }: CardContext,
  appUserId: string,
  projects = all,
): boolean {
  if (isBlockedId(appUserId)) return false;
  const { workspaceId } = request;
  if (projects.some((project) => missingToReadCustomers(project).length > 0))
    void queueKeyCheck(app, workspaceId);
  const readable = projects.filter(canReadCustomers);
  // One after the other: imports for many projects would take all connections from other cards.
  const queueImports = async (): Promise<void> => {
    for (const { projectId } of readable)
      await queueCustomerImport(
        app,
        { workspaceId, projectId, appUserId },
        { onceInSeconds: IMPORT_INTERVAL_S },
      );
  };
  queueImports().catch((error: unknown) =>
    app.logger.warn({ err: error, workspaceId }, 'could not queue an import of a customer'),
  );
  return readable.length > 0;
}
