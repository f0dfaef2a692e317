import type { CatalogRow } from '../database/entities.ts';
import type { Sql } from '../database/sql.ts';
import { AppError, answerOrError } from '../errors.ts';
import { readCatalog } from '../revenuecat/catalog.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { readCurrentCatalog } from '../revenuecat/current-catalog.ts';
import { type Charge, chargeOf } from '../subscription/describe-subscription.ts';
import { entitlementLabel } from '../subscription/names.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { HOUR_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project, ProjectKey } from '../workspaces/projects.ts';
import type { Grant } from './action.ts';
import { ActionError, failed, orActionError } from './action-error.ts';
import type { ActionContext, ActionCustomer } from './context.ts';
import { endOrForever, isSameEnd, LIFETIME_END_MS } from './durations.ts';
import type { ReviewedGrant } from './form-state.ts';
import { OUTAGE_ERRORS, readByKnownId, usableIds, withClient } from './read-revenuecat.ts';

/** RevenueCat treats ends that are closer than this as the same grant and keeps the old one (v1 documentation). */
const SAME_GRANT_MS = 2 * HOUR_MS;

export type Entitlement = Pick<CatalogRow, 'id' | 'lookupKey' | 'displayName' | 'isActive'>;

/**
 * The project's entitlements sorted by name, as last read from RevenueCat. Entitlements that share a name get their
 * lookup key added to it, so that an agent can tell them apart.
 */
export async function listEntitlements(sql: Sql, project: ProjectKey): Promise<Entitlement[]> {
  const catalog = await readCatalog(sql, project.workspaceId, project.projectId);
  const nameOf = ({ displayName, lookupKey }: Entitlement): string =>
    (displayName ?? lookupKey).toLowerCase();
  const all = catalog
    .filter(({ kind }) => kind === 'entitlement')
    .sort((a, b) => nameOf(a).localeCompare(nameOf(b)) || a.lookupKey.localeCompare(b.lookupKey));
  const names = all.map(nameOf);
  return all.map((each, index) => {
    const isShared = names[index] === names[index - 1] || names[index] === names[index + 1];
    const { displayName, lookupKey } = each;
    return isShared ? { ...each, displayName: `${displayName ?? lookupKey} (${lookupKey})` } : each;
  });
}

/** When access to one entitlement ends, by source; `null`: no access from it. An end far in the future means never. */
export interface Ends {
  readonly grantEndMs: number | null;
  /** From a subscription that gives access, or a one-time purchase. */
  readonly boughtEndMs: number | null;
}

/** The customer's access when a grant was reviewed. */
export function endsAtReview({ previousEndMs, boughtEndMs }: ReviewedGrant): Ends {
  return { grantEndMs: previousEndMs, boughtEndMs };
}

/** When the customer's access ends; `nowMs` when there is no access or it never ends. */
export function currentEndOrNow(nowMs: number, ends: Ends): number {
  const endMs = Math.max(ends.grantEndMs ?? 0, ends.boughtEndMs ?? 0);
  return endMs > nowMs && endMs < LIFETIME_END_MS ? endMs : nowMs;
}

/** What access a customer has now: from RevenueCat or, when it does not respond, from our own database. */
export interface Access {
  /** The id under which RevenueCat knows the customer. */
  readonly appUserId: string;
  /** What the customer can use; `entitlement` is an id or a lookup key. */
  readonly items: readonly { readonly entitlement: string; readonly name: string; readonly endMs: number }[];
  /** Grants and subscriptions that give access. */
  readonly sources: readonly (Pick<SubscriptionState, 'entitlements' | 'endsAtMs'> & {
    readonly isGrant: boolean;
  })[];
  readonly isStored: boolean;
}

/** Reads a customer's access from RevenueCat, in two calls. @throws AppError when they fail */
export async function readAccess(
  client: RevenueCatClient,
  revenueCatProjectId: string,
  appUserId: string,
): Promise<Access> {
  const [active, subscriptions] = await Promise.all([
    client.activeEntitlements(revenueCatProjectId, appUserId),
    client.listSubscriptions(revenueCatProjectId, appUserId),
  ]);
  return {
    appUserId,
    isStored: false,
    items: active.map(({ entitlementId: id, endsAtMs }) => ({
      entitlement: id,
      name: id,
      endMs: endOrForever(endsAtMs),
    })),
    sources: subscriptions
      .filter(({ givesAccess }) => givesAccess)
      .map((each) => ({ ...each, isGrant: each.store === 'PROMOTIONAL' })),
  };
}

export function endsOf(
  { items, sources }: Access,
  { id, lookupKey }: Pick<Entitlement, 'id' | 'lookupKey'>,
): Ends {
  const latest = (ends: readonly number[]): number | null => (ends.length === 0 ? null : Math.max(...ends));
  const giving = sources.filter(({ entitlements }) => entitlements.includes(lookupKey));
  const endOf = (from: Access['sources']) => latest(from.map(({ endsAtMs }) => endOrForever(endsAtMs)));
  const grantEndMs = endOf(giving.filter(({ isGrant }) => isGrant));
  const subscribedEndMs = endOf(giving.filter(({ isGrant }) => !isGrant));
  const usable = items.filter(({ entitlement }) => entitlement === id || entitlement === lookupKey);
  const endMs = latest(usable.map((each) => each.endMs));
  // Access that outlasts grants and subscriptions comes from a one-time purchase, which is not listed with them.
  const knownMs = Math.max(grantEndMs ?? 0, subscribedEndMs ?? 0);
  const isPurchase = endMs !== null && endMs > knownMs && !isSameEnd(endMs, knownMs);
  return { grantEndMs, boughtEndMs: isPurchase ? endMs : subscribedEndMs };
}

/**
 * Why RevenueCat would accept a grant without changing anything, and the end that stays; `null`: the grant has an
 * effect. According to v2's description it grants "unless one already exists"; what that means is UNVERIFIED. v1 keeps
 * an end that is within two hours of the new one, and clients saw the later end win.
 */
export function findNoEffect(
  current: Ends,
  endMs: number,
): { readonly kind: 'paid_until_later' | 'same_grant' | 'later_grant'; readonly endMs: number } | null {
  const { grantEndMs, boughtEndMs } = current;
  if (boughtEndMs !== null && boughtEndMs >= endMs) return { kind: 'paid_until_later', endMs: boughtEndMs };
  if (grantEndMs === null) return null;
  if (isSameGrant(grantEndMs, endMs)) return { kind: 'same_grant', endMs: grantEndMs };
  return grantEndMs > endMs ? { kind: 'later_grant', endMs: grantEndMs } : null;
}

function isSameGrant(oneMs: number, otherMs: number): boolean {
  return Math.abs(oneMs - otherMs) <= SAME_GRANT_MS || isSameEnd(oneMs, otherMs);
}

/**
 * The result of reading a grant back. `unchanged`: RevenueCat kept the earlier grant, as it does when a new one would
 * have no effect. `missing`: not granted, or not yet.
 */
export function compareReadBack(
  { requestedEndMs, previousEndMs }: Pick<Grant, 'requestedEndMs' | 'previousEndMs'>,
  currentMs: number,
): 'granted' | 'unchanged' | 'missing' {
  if (!isSameEnd(currentMs, previousEndMs)) return 'granted';
  return isSameGrant(currentMs, requestedEndMs) || currentMs > requestedEndMs ? 'unchanged' : 'missing';
}

/** Reads the customer's current access from RevenueCat. @throws ActionError when it cannot be read */
export async function readCurrentAccess(context: ActionContext): Promise<Access> {
  const { app, customer } = context;
  const { revenueCatProjectId } = customer.project;
  const entitlements = await readEntitlements(app, customer.project);
  const access = await readByKnownId(context, (client, appUserId) =>
    readAccess(client, revenueCatProjectId, appUserId),
  );
  const items = access.items.map((item) => {
    const found = entitlements.find(({ id }) => id === item.entitlement);
    return found ? { ...item, name: entitlementName(customer, found) } : item;
  });
  return { ...access, items };
}

/** From our own database: the events so far, and the last snapshot of RevenueCat's API. */
export function storedAccess(customer: ActionCustomer): Access {
  const { state, names } = customer;
  // An event may lack its store, so the state decides what is a grant; it looks at more than the store.
  const grants = state.grants.map((each) => ({ ...each, isGrant: true }));
  const bought = state.subscriptions.map((each) => ({ ...each, isGrant: false }));
  return {
    appUserId: usableIds(customer)[0] ?? '',
    isStored: true,
    items: state.entitlements.map(({ lookupKey: entitlement, endsAtMs }) => ({
      entitlement,
      name: entitlementLabel(entitlement, names),
      endMs: endOrForever(endsAtMs),
    })),
    sources: [...grants, ...bought].filter(({ givesAccess }) => givesAccess),
  };
}

/** Current access, or the stored one in an outage. @throws ActionError when RevenueCat refuses or locks the customer */
export async function readOrStoredAccess(context: ActionContext): Promise<Access> {
  const access = await orActionError(readCurrentAccess(context));
  if (!(access instanceof ActionError)) return access;
  if (OUTAGE_ERRORS.includes(access.code)) return storedAccess(context.customer);
  throw access;
}

/** Current access for a view; the stored access after any error of RevenueCat. */
export async function readShownAccess(context: ActionContext): Promise<Access> {
  const access = await orActionError(readCurrentAccess(context));
  return access instanceof ActionError ? storedAccess(context.customer) : access;
}

export function entitlementName(customer: ActionCustomer, entitlement: Entitlement): string {
  return entitlement.displayName ?? entitlementLabel(entitlement.lookupKey, customer.names);
}

/** The project's entitlements as stored; read from RevenueCat when none is known. @throws ActionError when that fails */
async function readEntitlements(app: AppContext, project: Project): Promise<Entitlement[]> {
  const stored = await listEntitlements(app.database, project);
  if (stored.length > 0 || project.apiKey === null) return stored;
  const reading = withClient(app, project, (client) => readCurrentCatalog({ ...app, project, client }));
  const read = await answerOrError(reading);
  if (!(read instanceof AppError)) return listEntitlements(app.database, project);
  app.logger.warn({ code: read.code, workspaceId: project.workspaceId }, 'entitlements not read');
  throw failed(read.code);
}

/** The entitlements that can be granted. @throws ActionError when none is known and RevenueCat cannot be read */
export async function readGrantable(app: AppContext, project: Project): Promise<Entitlement[]> {
  return (await readEntitlements(app, project)).filter(({ isActive }) => isActive);
}

/** What stores will charge for an entitlement before its grant ends, including when a pause ends by then. */
export function upcomingCharges(
  { app, customer }: ActionContext,
  { lookupKey, requestedEndMs }: Pick<ReviewedGrant, 'lookupKey' | 'requestedEndMs'>,
): (Charge & Pick<SubscriptionState, 'store'>)[] {
  return customer.state.subscriptions
    .filter(({ entitlements }) => entitlements.includes(lookupKey))
    .flatMap((subscription) => {
      const charge = chargeOf(subscription, app.now());
      const isBefore = charge !== null && charge.atMs < requestedEndMs;
      return isBefore ? [{ ...charge, store: subscription.store }] : [];
    });
}
