import { AppError } from '../errors.ts';
import {
  button,
  type Component,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  type Part,
  text,
} from '../intercom/canvas.ts';
import { queueCustomerImport } from '../subscribers/jobs.ts';
import { queueKeyCheck } from '../subscribers/refresh.ts';
import { type FoundSubscriber, searchSubscribers } from '../subscribers/search.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { cut } from '../text.ts';
import { withTimeout } from '../time.ts';
import type { Project } from '../workspaces/projects.ts';
import { canReadCustomers, missingToReadCustomers } from '../workspaces/revenuecat-key.ts';
import { andMore, type CardContext, type FormState, type FoundBy } from './context.ts';

export const MAX_FOUND = 10;
const MAX_QUERY_LENGTH = 300;
/** How long the agent waits for RevenueCat when nothing is stored. */
const SEARCH_TIMEOUT_MS = 2_000;
/** However often the card of an unknown customer is opened, they are imported once in this time. */
const IMPORT_INTERVAL_S = 60;

/** A subscriber that may be the contact's customer. */
export interface PossibleCustomer extends Omit<FoundSubscriber, 'foundBy'> {
  readonly foundBy: FoundBy;
}

/** The search alone, for a contact that already has a customer. */
export function searchView(context: CardContext): InboxCanvas {
  const title = text(context.messages.t('match.title.search'), 'header');
  return context.page([title, searchForm(context, null)]);
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
    fields: query.includes('@') ? ['app_user_id', 'email', 'transaction'] : ['app_user_id', 'transaction'],
  });
  const connected = stored.filter((each) => projects.some(({ projectId }) => projectId === each.projectId));
  const isUnknown = connected.length === 0;
  // A customer who is unknown here is imported.
  const isImporting = isUnknown && importFromRevenueCat(context, query);
  const found = isUnknown ? await searchRevenueCat(context, query) : connected;
  if (found.length === 0) {
    const sentence = m.t(isImporting ? 'match.state.lookedUp' : 'match.state.nothingFound');
    return context.page([text(sentence, 'muted'), unsearchedText(context), form]);
  }
  return context.page(
    [text(m.t('match.state.found', { count: found.length }), 'muted'), foundList(context, found), form],
    listState(found.slice(0, MAX_FOUND)),
  );
}

/** Why RevenueCat was not asked, for at least one project. */
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

/** The rest can be found by what is more exact than an e-mail. */
export function foundList(context: CardContext, found: readonly PossibleCustomer[], max = MAX_FOUND): Part[] {
  return [
    list(found.slice(0, max).map((entry) => foundItem(context, entry))),
    andMore(context, found.length - max),
  ];
}

function foundItem({ projects, messages: m }: CardContext, found: PossibleCustomer): ListItem {
  const project = projects.find(({ projectId }) => projectId === found.projectId);
  const lastEvent =
    found.lastEventAtMs === null ? null : m.t('card.lastEvent', { date: m.date(found.lastEventAtMs) });
  const about = [found.email, projects.length > 1 ? project?.name : null, lastEvent];
  return item(`match:${found.subscriberId}`, found.appUserId, {
    subtitle: about.filter(Boolean).join(' · '),
  });
}

/** For the audit log of what is chosen from a list. */
export function listState(listed: readonly PossibleCustomer[]): FormState {
  if (listed.length === 0) return {};
  return { foundBy: Object.fromEntries(listed.map(({ subscriberId, foundBy }) => [subscriberId, foundBy])) };
}

/** RevenueCat knows every transaction and order of a purchase. */
async function searchRevenueCat(context: CardContext, query: string): Promise<PossibleCustomer[]> {
  const { app, request, projects } = context;
  if (query.includes('@')) return [];
  const buyers = projects.map(async (project) => {
    const ids = await findBuyers(context, project, query);
    return ids.map((appUserId) => ({ appUserId, project }));
  });
  const found: PossibleCustomer[] = [];
  for (const { appUserId, project } of (await Promise.all(buyers)).flat()) {
    const byId = { text: appUserId, fields: ['app_user_id'] } as const;
    const stored = await searchSubscribers(app.readDatabase, request.workspaceId, byId);
    const own = stored.find(({ projectId }) => projectId === project.projectId);
    if (own) found.push({ ...own, foundBy: 'transaction' });
    else importFromRevenueCat(context, appUserId, [project]);
  }
  return found;
}

async function findBuyers({ app }: CardContext, project: Project, storeId: string): Promise<string[]> {
  const client = app.revenueCat(project, { timeoutMs: SEARCH_TIMEOUT_MS });
  if (!client || !canReadCustomers(project)) return [];
  const { workspaceId, revenueCatProjectId } = project;
  try {
    return await withTimeout(client.findBuyers(revenueCatProjectId, storeId), SEARCH_TIMEOUT_MS, () => []);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    app.logger.warn({ code: error.code, workspaceId }, 'purchase not searched in RevenueCat');
    return [];
  }
}

/**
 * Queues an import of a customer who is unknown here, such as one who subscribed before the app was installed.
 *
 * @returns whether an import was queued
 */
export function importFromRevenueCat(
  { app, request, projects: all }: CardContext,
  appUserId: string,
  projects = all,
): boolean {
  if (isBlockedId(appUserId)) return false;
  const { workspaceId } = request;
  const report = (job: string) => (error: unknown) =>
    app.logger.warn({ err: error, workspaceId }, `could not queue ${job}`);
  if (projects.some((project) => missingToReadCustomers(project).length > 0))
    queueKeyCheck(app, workspaceId).catch(report('a check of the API key'));
  const readable = projects.filter(canReadCustomers);
  for (const { projectId } of readable) {
    const once = { onceInSeconds: IMPORT_INTERVAL_S };
    queueCustomerImport(app, { workspaceId, projectId, appUserId }, once).catch(
      report('an import of a customer'),
    );
  }
  return readable.length > 0;
}
