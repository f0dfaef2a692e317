import { AppError, type ErrorCode } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';

/** What a pasted RevenueCat key turned out to be. */
export type KeyCheck =
  | {
      readonly outcome: 'valid';
      readonly project: { readonly id: string; readonly name: string };
      /** Permissions that the key lacks, as RevenueCat's dashboard and errors name them. */
      readonly missingScopes: readonly string[];
    }
  /** The key belongs to several projects, or may not list them: an admin must say which one. */
  | { readonly outcome: 'choose'; readonly projects: readonly { id: string; name: string }[] }
  /** The project that was named is none of the key's. */
  | { readonly outcome: 'wrong_project' }
  | { readonly outcome: 'rejected' }
  /** RevenueCat does not answer, or its limit is used up; `code` tells which. */
  | { readonly outcome: 'unreachable'; readonly code: ErrorCode };

/** RevenueCat's secret keys of API version 2 begin so; keys of version 1 do too and are refused by version 2. */
export function looksLikeSecretKey(text: string): boolean {
  return /^(sk|atk)_[\w-]{1,400}$/.test(text);
}

/** `proj…`, or what the dashboard's addresses show: the same without its prefix. */
export function isProjectId(text: string): boolean {
  return /^[\w-]{1,100}$/.test(text);
}

/**
 * Tries a key with one harmless call for each permission that the app uses. Writing is not tried: a grant that
 * RevenueCat forbids says so on the card.
 *
 * @param projectId the project that an admin named; `null`: the key's only one
 */
export async function checkApiKey(client: RevenueCatClient, projectId: string | null): Promise<KeyCheck> {
  try {
    const projects = await allowed(() => client.listProjects());
    const missingScopes = projects === null ? ['project_configuration:projects:read'] : [];
    const project = choose(projects, projectId);
    if (project === 'wrong') return { outcome: 'wrong_project' };
    if (project === null) return { outcome: 'choose', projects: projects ?? [] };

    const probes: readonly [string, () => Promise<unknown>][] = [
      ['project_configuration:entitlements:read', () => client.listEntitlements(project.id)],
      ['project_configuration:products:read', () => client.listProducts(project.id)],
      ['customer_information:customers:read', () => client.searchCustomers(project.id, 'nobody@example.com')],
      ['customer_information:subscriptions:read', () => client.tryReading(project.id, 'subscriptions')],
      ['customer_information:purchases:read', () => client.tryReading(project.id, 'purchases')],
    ];
    for (const [scope, probe] of probes) {
      if ((await allowed(probe)) === null) missingScopes.push(scope);
    }
    return { outcome: 'valid', project, missingScopes };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_unauthorized') return { outcome: 'rejected' };
    if (error.code === 'revenuecat_not_found') return { outcome: 'wrong_project' };
    return { outcome: 'unreachable', code: error.code };
  }
}

function choose(
  projects: readonly { id: string; name: string }[] | null,
  named: string | null,
): { id: string; name: string } | 'wrong' | null {
  if (named === null) return projects?.length === 1 ? (projects[0] ?? null) : null;
  if (projects === null) return { id: named, name: named };
  // The dashboard's addresses leave the prefix out.
  return projects.find(({ id }) => id === named || id === `proj${named}`) ?? 'wrong';
}

/** `null` when the key lacks the permission. */
async function allowed<T>(call: () => Promise<T>): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof AppError && error.code === 'revenuecat_scope_missing') return null;
    throw error;
  }
}

/**
 * Registers our webhook at RevenueCat. One with our address is replaced: RevenueCat never gives back which
 * `Authorization` value it was made with.
 *
 * @returns its id, or why RevenueCat did not take it: the admin then adds it by hand
 */
export async function registerWebhook(
  client: RevenueCatClient,
  projectId: string,
  webhook: { url: string; authorizationHeader: string },
): Promise<{ id: string } | { reason: 'scope_missing' | 'refused' | 'unreachable' }> {
  try {
    for (const existing of await client.listWebhooks(projectId)) {
      if (existing.url === webhook.url) await client.deleteWebhook(projectId, existing.id);
    }
    return await client.createWebhook(projectId, { name: 'Subscription Timeline', ...webhook });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_scope_missing') return { reason: 'scope_missing' };
    return { reason: error.remedy.kind === 'give_up' ? 'refused' : 'unreachable' };
  }
}
