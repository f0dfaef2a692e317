import { AppError } from '../errors.ts';
import { queueCustomerImport } from '../subscribers/jobs.ts';
import { queueKeyCheck } from '../subscribers/refresh.ts';
import { type FoundSubscriber, searchSubscribers } from '../subscribers/search.ts';
import { appUserIdInText } from '../subscription/app-user-id-in-text.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { cut } from '../text.ts';
import { withTimeout } from '../time.ts';
import type { Project } from '../workspaces/projects.ts';
import { canReadCustomers, missingToReadCustomers } from '../workspaces/revenuecat-key.ts';
import type { Candidate, CardQuery } from './card-repository.ts';
import type { CardContext } from './context.ts';
import type { FormState, FoundBy } from './form-state.ts';
import type { CardRequest } from './request.ts';

export const MAX_FOUND = 10;
const MAX_QUERY_LENGTH = 300;

/** Which customer a card is about. */
export type Match =
  | { readonly kind: 'one'; readonly candidate: Candidate }
  /** One in each of several projects, all of them by a link or the external id. */
  | { readonly kind: 'projects'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'possible'; readonly found: readonly FoundSubscriber[] }
  | { readonly kind: 'none' };

/** What to read for a request. Misconfigured apps give a placeholder as external id to everyone. */
export function cardQuery(request: CardRequest, formState: FormState): CardQuery {
  const { id, externalId } = request.contact;
  const isUsable = externalId !== null && !isBlockedId(externalId);
  return { contactId: id, externalId: isUsable ? externalId : null, chosen: formState.chosen ?? null };
}

/**
 * By what the teammate chose, else by a saved link, else by `external_id`, else by e-mail where the workspace has
 * switched that on. Anyone with the app's public key can set an e-mail, so that is only a possible match.
 */
export async function matchContact(context: CardContext): Promise<Match> {
  const { candidates, request, workspace, app } = context;
  const chosen = candidates.find(({ matchedBy }) => matchedBy === 'chosen');
  const candidate = chosen ?? candidates[0];
  if (candidate) {
    return chosen || candidates.length === 1 ? { kind: 'one', candidate } : { kind: 'projects', candidates };
  }
  const { email } = request.contact;
  if (email === null || !workspace.settings.contacts.matchByEmail) return { kind: 'none' };
  const search = { text: email, fields: ['email'] } as const;
  const found = await searchSubscribers(app.readDatabase, request.workspaceId, search);
  return found.length > 0 ? { kind: 'possible', found } : { kind: 'none' };
}

/** A subscriber that may be the contact's customer. */
export interface PossibleCustomer extends Omit<FoundSubscriber, 'foundBy'> {
  readonly foundBy: FoundBy;
}

/** The contact's possible customers by the conversation and by e-mail. */
export interface Suggestions {
  /** The subscriber whose app user id is in the conversation: one, or none. */
  readonly mentioned: readonly PossibleCustomer[];
  /** The app user id in the conversation, when it is unknown here. */
  readonly unknownId: string | null;
  readonly possible: readonly PossibleCustomer[];
}

export async function findSuggestions(context: CardContext, match: Match): Promise<Suggestions> {
  const { request, app } = context;
  // An unknown customer may have subscribed long ago: the next card knows them.
  const { externalId } = request.contact;
  if (match.kind === 'none' && externalId !== null) importFromRevenueCat(context, externalId);
  const possible = (match.kind === 'possible' ? match.found : []).map((each) => ({
    ...each,
    foundBy: 'possible_match' as const,
  }));
  const appUserId =
    request
      .conversationTexts()
      .values()
      .map(appUserIdInText)
      .find((id) => id !== null) ?? null;
  if (appUserId === null) return { mentioned: [], unknownId: null, possible };
  const search = { text: appUserId, fields: ['app_user_id'] } as const;
  const [found] = await searchSubscribers(app.readDatabase, request.workspaceId, search);
  if (!found) return { mentioned: [], unknownId: appUserId, possible };
  return {
    mentioned: [{ ...found, appUserId, foundBy: 'conversation' }],
    unknownId: null,
    possible: possible.filter(({ subscriberId }) => subscriberId !== found.subscriberId),
  };
}

export function queryOf({ request }: CardContext): string {
  return cut((request.inputs['match.query'] ?? '').trim(), MAX_QUERY_LENGTH);
}

export interface SearchResult {
  readonly found: readonly PossibleCustomer[];
  /** Whether the customer may be one who is being imported. */
  readonly isImporting: boolean;
}

/** Searches the connected projects by app user id, e-mail and transaction id; then RevenueCat. */
export async function search(context: CardContext, query: string): Promise<SearchResult> {
  if (query === '') return { found: [], isImporting: false };
  const { request, app, projects } = context;
  const all = await searchSubscribers(app.readDatabase, request.workspaceId, {
    text: query,
    fields: query.includes('@') ? ['app_user_id', 'email', 'transaction'] : ['app_user_id', 'transaction'],
  });
  const connected = new Set(projects.map(({ projectId }) => projectId));
  const found = all.filter(({ projectId }) => connected.has(projectId));
  return found.length > 0 ? { found, isImporting: false } : searchRevenueCat(context, query);
}

/** How long the agent waits for RevenueCat when nothing is stored. */
const SEARCH_TIMEOUT_MS = 2_000;

/** RevenueCat knows every transaction and order of a purchase. A customer who is unknown here is imported. */
async function searchRevenueCat(context: CardContext, query: string): Promise<SearchResult> {
  const { app, request, projects } = context;
  const isImporting = importFromRevenueCat(context, query);
  if (query.includes('@')) return { found: [], isImporting };
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
  return { found, isImporting };
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
function importFromRevenueCat(context: CardContext, appUserId: string, projects = context.projects): boolean {
  if (isBlockedId(appUserId)) return false;
  const { app, request } = context;
  const { workspaceId } = request;
  if (projects.some((project) => missingToReadCustomers(project).length > 0))
    queueKeyCheck(app, workspaceId).catch((error: unknown) =>
      app.logger.warn({ err: error, workspaceId }, 'could not queue a check of the API key'),
    );
  const readable = projects.filter(canReadCustomers);
  for (const { projectId } of readable) {
    const once = { onceInSeconds: IMPORT_INTERVAL_S };
    queueCustomerImport(app, { workspaceId, projectId, appUserId }, once).catch((error: unknown) =>
      app.logger.warn({ err: error, workspaceId }, 'could not queue an import of a customer'),
    );
  }
  return readable.length > 0;
}

/** However often the card of an unknown customer is opened, they are imported once in this time. */
const IMPORT_INTERVAL_S = 60;
