import { AppError, type ErrorCode } from '../../errors.ts';
import { readCatalogNames } from '../../revenuecat/catalog.ts';
import { isAnonymous, preferredAppUserIds } from '../../subscription/identities.ts';
import { entitlementLabel } from '../../subscription/names.ts';
import type { SubscriptionState } from '../../subscription/types.ts';
import { withTimeout } from '../../time.ts';
import { setApiKeyState } from '../../workspaces/projects.ts';
import { type CustomerAccess, type Ends, readAccess, together } from '../access.ts';
import { FOREVER_MS } from '../ends.ts';
import { type Entitlement, listEntitlements } from '../entitlements.ts';
import type { Customer, Visit } from './context.ts';

/** How long a view waits for RevenueCat before it goes on with what is stored, ms. */
const READ_WITHIN_MS = 2_000;

/** The SDK's preview mode makes everybody this customer. */
const PREVIEW_ID = '$RC_PREVIEW_MODE_USER';

/** What a customer has now, of RevenueCat or, where that is away, of our own store. */
export interface AccessNow {
  readonly appUserId: string;
  /** Everything that gives access: its name, and its end. */
  readonly has: readonly { readonly name: string; readonly endMs: number }[];
  readonly willRenew: boolean;
  readonly isStored: boolean;
  endsOf(entitlement: Entitlement): Ends;
}

export type AccessRead =
  | { readonly kind: 'read'; readonly access: AccessNow }
  | { readonly kind: 'unknown_customer' }
  | { readonly kind: 'failed'; readonly code: ErrorCode };

/** Ids to act with, best first; empty: none that RevenueCat accepts. */
export function usableIds(customer: Customer): string[] {
  const { appUserIds } = customer.subscriber;
  const ids = customer.appUserId === '' ? appUserIds : [customer.appUserId, ...appUserIds];
  return preferredAppUserIds(ids).filter((id) => id !== PREVIEW_ID);
}

export function isAnonymousOnly(customer: Customer): boolean {
  return usableIds(customer).every(isAnonymous);
}

/** Asks RevenueCat, within the time that an agent waits. */
export async function readAccessNow(
  visit: Visit,
  customer: Customer,
  entitlements: readonly Entitlement[],
): Promise<AccessRead> {
  const { services: context } = visit;
  const { project } = customer;
  const client = context.revenueCat(project, READ_WITHIN_MS);
  if (!client) return { kind: 'failed', code: 'revenuecat_unauthorized' };
  try {
    const read = readAccess(client, project.revenueCatProjectId, usableIds(customer));
    const access = await withTimeout(read, READ_WITHIN_MS, () => 'late' as const);
    if (access === 'late') return { kind: 'failed', code: 'revenuecat_unavailable' };
    if (access === null) return { kind: 'unknown_customer' };
    return { kind: 'read', access: named(customer, access, entitlements) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_unauthorized') {
      await setApiKeyState(context.database, project.workspaceId, project.projectId, 'rejected');
    }
    context.logger.warn({ code: error.code, workspaceId: project.workspaceId }, 'access not read');
    return { kind: 'failed', code: error.code };
  }
}

function named(customer: Customer, access: CustomerAccess, entitlements: readonly Entitlement[]): AccessNow {
  const nameOf = (id: string): string => {
    const known = entitlements.find((each) => each.id === id);
    return known ? entitlementName(customer, known) : id;
  };
  return {
    appUserId: access.appUserId,
    has: access.active.map((each) => ({ name: nameOf(each.entitlementId), endMs: each.endMs })),
    willRenew: access.willRenew,
    isStored: false,
    endsOf: (entitlement) => access.endsOf(entitlement),
  };
}

/** What our own store tells: the events until now, and RevenueCat's API when it was last read. */
export function storedAccess(customer: Customer): AccessNow {
  const { state } = customer;
  const endMs = (endsAtMs: number | null): number => endsAtMs ?? FOREVER_MS;
  return {
    appUserId: usableIds(customer)[0] ?? '',
    has: state.entitlements.map((each) => ({
      name: entitlementLabel(each.lookupKey, customer.names),
      endMs: endMs(each.endsAtMs),
    })),
    willRenew: state.subscriptions.some((subscription) => subscription.willRenew),
    isStored: true,
    endsOf({ lookupKey }) {
      const inForce = (from: readonly SubscriptionState[]): number | null => {
        const ends = from
          .filter((each) => each.givesAccess && each.entitlements.includes(lookupKey))
          .map((each) => endMs(each.endsAtMs));
        return ends.length > 0 ? Math.max(...ends) : null;
      };
      const any = state.entitlements.find((each) => each.lookupKey === lookupKey);
      return together(inForce(state.grants), inForce(state.subscriptions), any ? endMs(any.endsAtMs) : null);
    },
  };
}

export function entitlementName(customer: Customer, entitlement: Entitlement): string {
  return entitlement.displayName ?? entitlementLabel(entitlement.lookupKey, customer.names);
}

/** The project's entitlements, as last read from RevenueCat; read now, and kept, where none is known. */
export async function readEntitlements(visit: Visit, customer: Customer): Promise<Entitlement[]> {
  const { services: context, request } = visit;
  const { project } = customer;
  const { workspaceId } = request;
  const known = await listEntitlements(context.readDatabase, workspaceId, project.projectId);
  const client = known.length > 0 ? null : context.revenueCat(project, READ_WITHIN_MS);
  if (!client) return known;
  try {
    await readCatalogNames(context, project, client);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    context.logger.warn({ code: error.code, workspaceId }, 'entitlements not read');
  }
  return listEntitlements(context.database, workspaceId, project.projectId);
}
