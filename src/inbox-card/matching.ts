import { createHash } from 'node:crypto';
import {
  deleteLink,
  readLinkedId,
  saveLink,
  unassignContact,
  wakeForContact,
} from '../contacts/repository.ts';
import type { Transaction } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { queueCustomerImport } from '../subscribers/jobs.ts';
import { lockSubscriber } from '../subscribers/repository.ts';
import { type FoundSubscriber, type SearchField, searchSubscribers } from '../subscribers/search.ts';
import { appUserIdInText } from '../subscription/app-user-id-in-text.ts';
import { isUuid } from '../text.ts';
import { withTimeout } from '../time.ts';
import { writeAudit } from '../workspaces/audit.ts';
import type { Project } from '../workspaces/projects.ts';
import type { CardContext, Customer, CustomerContext } from './context.ts';
import { loadCustomer, type Match, usableExternalId } from './customer.ts';

export const MAX_FOUND = 10;
const MAX_QUERY_LENGTH = 300;

/** How a subscriber was found, for the audit log. */
type FoundBy =
  | SearchField
  | 'conversation'
  | 'possible_match'
  | 'earlier_link'
  /** No signed list of this card contains it. */
  | 'unknown';

type FoundByMap = Readonly<Record<string, FoundBy>>;

/** An app user id in the conversation, with the subscriber that it names. */
interface Suggestion {
  readonly id: string;
  readonly found: FoundSubscriber | null;
}

async function suggestFromConversation(context: CardContext): Promise<Suggestion | null> {
  const { request, services } = context;
  for (const body of request.conversationTexts()) {
    const id = appUserIdInText(body);
    if (id === null) continue;
    const search = { text: id, fields: ['app_user_id'] } as const;
    const [found] = await searchSubscribers(services.readDatabase, request.workspaceId, search);
    return { id, found: found ? { ...found, appUserId: id } : null };
  }
  return null;
}

/** The contact's possible customers by the conversation and by e-mail, each with how it was found. */
export async function findSuggestions(
  context: CardContext,
  match: Match,
): Promise<{ suggestion: Suggestion | null; possible: readonly FoundSubscriber[]; foundBy: FoundByMap }> {
  // An unknown customer may have subscribed long ago: the next card knows them.
  const { externalId } = context.request.contact;
  if (match.kind === 'none' && externalId !== null) importFromRevenueCat(context, externalId);
  const suggestion = await suggestFromConversation(context);
  const mentionedId = suggestion?.found?.subscriberId;
  const found = match.kind === 'possible' ? match.found : [];
  const possible = found.filter(({ subscriberId }) => subscriberId !== mentionedId);
  const foundBy: Record<string, FoundBy> = {};
  if (mentionedId !== undefined) foundBy[mentionedId] = 'conversation';
  for (const { subscriberId } of possible) foundBy[subscriberId] = 'possible_match';
  return { suggestion, possible, foundBy };
}

export function queryOf({ request }: CardContext): string {
  return (request.inputs['match.query'] ?? '').trim().slice(0, MAX_QUERY_LENGTH);
}

interface Found {
  readonly found: readonly FoundSubscriber[];
  readonly foundBy: FoundByMap;
  /** Who it may be is being imported. */
  readonly isLookedUp: boolean;
}

/** Searches the connected projects by app user id, e-mail and transaction id; then RevenueCat. */
export async function search(context: CardContext, query: string): Promise<Found> {
  const { request, services, projects } = context;
  const all = await searchSubscribers(services.readDatabase, request.workspaceId, {
    text: query,
    fields: query.includes('@') ? ['app_user_id', 'email', 'transaction'] : ['app_user_id', 'transaction'],
  });
  const connected = new Set(projects.map(({ projectId }) => projectId));
  const stored = all.filter(({ projectId }) => connected.has(projectId));
  const { found, isLookedUp } =
    stored.length > 0 ? { found: stored, isLookedUp: false } : await searchRevenueCat(context, query);
  const foundBy = found.slice(0, MAX_FOUND).map((each) => [each.subscriberId, each.foundBy]);
  return { found, foundBy: Object.fromEntries(foundBy), isLookedUp };
}

/** How long the agent waits for RevenueCat when nothing is stored. */
const SEARCH_TIMEOUT_MS = 2_000;

/** RevenueCat knows every transaction and order of a purchase. A customer who is unknown here is imported. */
async function searchRevenueCat(context: CardContext, query: string): Promise<Omit<Found, 'foundBy'>> {
  const { services, request, projects } = context;
  const isLookedUp = importFromRevenueCat(context, query);
  if (query.includes('@')) return { found: [], isLookedUp };
  const buyers = projects.map(async (project) => {
    const ids = await findBuyers(context, project, query);
    return ids.map((appUserId) => ({ appUserId, project }));
  });
  const found: FoundSubscriber[] = [];
  for (const { appUserId, project } of (await Promise.all(buyers)).flat()) {
    const byId = { text: appUserId, fields: ['app_user_id'] } as const;
    const stored = await searchSubscribers(services.readDatabase, request.workspaceId, byId);
    const own = stored.find(({ projectId }) => projectId === project.projectId);
    if (own) found.push({ ...own, foundBy: 'transaction' });
    else importFromRevenueCat(context, appUserId, [project]);
  }
  return { found, isLookedUp };
}

async function findBuyers({ services }: CardContext, project: Project, storeId: string): Promise<string[]> {
  const client = services.revenueCat(project, { timeoutMs: SEARCH_TIMEOUT_MS });
  if (!client || project.apiKeyState === 'rejected') return [];
  const { workspaceId, revenueCatProjectId } = project;
  try {
    return await withTimeout(client.findBuyers(revenueCatProjectId, storeId), SEARCH_TIMEOUT_MS, () => []);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    services.logger.warn({ code: error.code, workspaceId }, 'purchase not searched in RevenueCat');
    return [];
  }
}

/**
 * Queues an import of a customer who is unknown here, such as one who subscribed before the app was installed.
 *
 * @returns whether an import was queued
 */
function importFromRevenueCat(context: CardContext, appUserId: string, projects = context.projects): boolean {
  if (usableExternalId(appUserId) === null) return false;
  const { services, request } = context;
  const { workspaceId } = request;
  const withKey = projects.filter(({ apiKey, apiKeyState }) => apiKey !== null && apiKeyState !== 'rejected');
  for (const { projectId } of withKey) {
    const once = { onceInSeconds: LOOK_UP_INTERVAL_S };
    queueCustomerImport(services, { workspaceId, projectId, appUserId }, once).catch((error: unknown) =>
      services.logger.warn({ err: error, workspaceId }, 'could not queue looking up a customer'),
    );
  }
  return withKey.length > 0;
}

/** However often the card of an unknown customer is opened, they are looked up once in this time. */
const LOOK_UP_INTERVAL_S = 60;

/** Any subscriber of this workspace; `null`: unknown. */
async function findCustomer(context: CardContext, subscriberId: string): Promise<Customer | null> {
  if (!isUuid(subscriberId)) return null;
  const { services, request } = context;
  const query = { contactId: '', externalId: null, chosen: subscriberId };
  const record = await services.cards.read(request.workspaceId, query);
  const [candidate] = record?.candidates ?? [];
  return candidate ? loadCustomer(context, candidate) : null;
}

/** What linking a customer to the contact would do. */
export interface LinkReview {
  readonly customer: Customer;
  /** A deleted contact gets no link: the teammate only sees the customer on this card. */
  readonly canLink: boolean;
  /** The app user id that the contact is linked to now. */
  readonly replaces: string | null;
  readonly foundBy: FoundBy;
  /** Changes when anything that the review shows of the customer or the link changes. */
  readonly fingerprint: string;
}

/** `null`: the subscriber is unknown. */
export async function reviewLink(context: CardContext, subscriberId: string): Promise<LinkReview | null> {
  const customer = await findCustomer(context, subscriberId);
  if (!customer) return null;
  const { services, request, formState } = context;
  const { contact, workspaceId } = request;
  const canLink = contact.id !== '' && !contact.isGone;
  const { projectId } = customer.project;
  const linkedId = canLink
    ? await readLinkedId(services.readDatabase, { workspaceId, contactId: contact.id, projectId })
    : null;
  const replaced =
    linkedId === null || linkedId === subscriberId ? null : await findCustomer(context, linkedId);
  const foundBy = formState.foundBy?.[subscriberId] ?? formState.match?.foundBy ?? 'unknown';
  return {
    customer,
    canLink,
    replaces: replaced?.appUserId ?? null,
    foundBy: foundBy as FoundBy,
    fingerprint: fingerprintOf(customer, linkedId),
  };
}

function fingerprintOf({ subscriber, appUserId }: Customer, linkedId: string | null): string {
  const { subscriberId, appUserIds, email } = subscriber;
  const shown = JSON.stringify([subscriberId, appUserId, [...appUserIds].sort(), email, linkedId]);
  return createHash('sha256').update(shown).digest('base64url');
}

type LinkResult =
  | { readonly kind: 'linked' | 'shown'; readonly customer: Customer }
  /** Nothing was linked: the review must be shown again. */
  | { readonly kind: 'changed' | 'expired'; readonly subscriberId: string }
  | { readonly kind: 'not_reviewed' | 'not_found' };

/** Saves the reviewed link with who confirmed it, and sends the events that waited for a contact. */
export async function confirmLink(context: CardContext): Promise<LinkResult> {
  const { services, request, formState } = context;
  const reviewed = formState.match;
  if (!reviewed) return { kind: 'not_reviewed' };
  const { subscriberId, foundBy } = reviewed;
  const now = await reviewLink(context, subscriberId);
  if (!now) {
    await audit(context, services.database, {
      action: 'link',
      subscriberId: null,
      details: { found_by: foundBy },
      result: 'refused',
    });
    return { kind: 'not_found' };
  }
  if (context.isOutdated) return { kind: 'expired', subscriberId };
  if (now.fingerprint !== reviewed.fingerprint) return { kind: 'changed', subscriberId };
  const { customer } = now;
  const details = { app_user_id: customer.appUserId, found_by: foundBy };
  if (!now.canLink) {
    await audit(context, services.database, { action: 'look', subscriberId, details, result: 'done' });
    return { kind: 'shown', customer };
  }
  const { contact, workspaceId, admin } = request;
  const { projectId } = customer.project;
  await services.database.transaction(async (sql) => {
    await lockSubscriber(sql, { workspaceId, subscriberId });
    const before = await readLinkedId(sql, { workspaceId, contactId: contact.id, projectId });
    await releaseContact(sql, workspaceId, contact.id);
    const madeBy = { id: admin.id, name: admin.name };
    await saveLink(sql, { workspaceId, contactId: contact.id, projectId, subscriberId, madeBy });
    await wakeForContact(sql, workspaceId, { contactId: contact.id, externalId: null, email: null });
    const replaced = before !== null && before !== subscriberId ? { replaced: before } : {};
    await audit(context, sql, {
      action: 'link',
      subscriberId,
      details: { ...details, ...replaced },
      result: 'done',
    });
  });
  return { kind: 'linked', customer };
}

/** Removes a link; the contact is then matched as it would be without it. */
export async function removeLink(
  context: CustomerContext,
): Promise<'removed' | 'not_linked' | 'not_reviewed'> {
  const { services, request, customer, formState, isOutdated } = context;
  const { subscriberId, link } = customer.subscriber;
  if (link === null) return 'not_linked';
  if (formState.unlink !== subscriberId || isOutdated) return 'not_reviewed';
  const { workspaceId, contact } = request;
  await services.database.transaction(async (sql) => {
    await releaseContact(sql, workspaceId, contact.id);
    await deleteLink(sql, { workspaceId, contactId: contact.id, subscriberId });
    await audit(context, sql, {
      action: 'unlink',
      subscriberId,
      details: { app_user_id: customer.appUserId },
      result: 'done',
    });
  });
  return 'removed';
}

/**
 * The linked subscriber looks up its contact again, before the link is removed or replaced; also one whose delivery is
 * in progress, which has not stored its contact yet.
 */
async function releaseContact(sql: Transaction, workspaceId: string, contactId: string): Promise<void> {
  await wakeForContact(sql, workspaceId, { contactId, externalId: null, email: null });
  await unassignContact(sql, workspaceId, contactId);
}

async function audit(
  { request }: CardContext,
  sql: Transaction,
  record: {
    readonly action: 'link' | 'unlink' | 'look';
    readonly subscriberId: string | null;
    readonly details: Readonly<Record<string, unknown>>;
    readonly result: 'done' | 'refused';
  },
): Promise<void> {
  await writeAudit(sql, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    ...record,
  });
}
