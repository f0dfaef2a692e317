import { AppError, nullOn } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { withPrefix } from './project-connection.ts';
import { hasWorkingKey, type Project } from './projects.ts';
import type { WorkspaceSettings } from './settings.ts';

export type KeyCheck = Awaited<ReturnType<typeof checkApiKey>>;

interface Permission {
  /** Does not work without the permission. */
  readonly feature: string;
  /** Without the permission only a convenience is missing. */
  readonly isOptional?: true;
  /** Whether a switched-on feature needs the permission; left out: always. */
  isNeeded?(settings: WorkspaceSettings): boolean;
  /** A call that changes nothing: it reads, or it names a resource that does not exist. */
  check(client: RevenueCatClient, projectId: string): Promise<unknown>;
}

/** RevenueCat checks the permission before it looks for the resource: 403 without the permission, 404 with it. */
const NO_CUSTOMER = 'subscription-timeline-permission-check';
const NO_ENTITLEMENT = 'entl0000000000';
const NO_SUBSCRIPTION = 'sub0000000000';
const NO_PURCHASE = 'purch0000000000';
const NO_WEBHOOK = 'whintgr0000000000';

const LIST_PROJECTS = 'project_configuration:projects:read';
const WRITE_WEBHOOKS = 'project_configuration:integrations:read_write';
const NAMES = 'Names of products and entitlements';
const CARD = 'Card, Refresh and import';

/** By scope. */
const PERMISSIONS: Readonly<Record<string, Permission>> = {
  [LIST_PROJECTS]: { feature: 'Name of the project', check: (client) => client.listProjects() },
  'project_configuration:entitlements:read': {
    feature: NAMES,
    check: (client, projectId) => client.listEntitlements(projectId),
  },
  'project_configuration:products:read': {
    feature: NAMES,
    check: (client, projectId) => client.listProducts(projectId),
  },
  'customer_information:customers:read': {
    feature: CARD,
    check: (client, projectId) => client.findByEmail(projectId, 'nobody@example.com'),
  },
  'customer_information:subscriptions:read': {
    feature: CARD,
    check: (client, projectId) => client.tryReading(projectId, 'subscriptions'),
  },
  'customer_information:purchases:read': {
    feature: CARD,
    check: (client, projectId) => client.tryReading(projectId, 'purchases'),
  },
  'customer_information:customers:read_write': {
    feature: 'Grants',
    isNeeded: ({ grants, actions }) => grants.enabled || actions.transfer.enabled,
    check: (client, projectId) => client.revokeEntitlement(projectId, NO_CUSTOMER, NO_ENTITLEMENT),
  },
  'customer_information:subscriptions:read_write': {
    feature: 'Store actions',
    isNeeded: ({ actions }) =>
      actions.cancel.enabled || actions.refund.enabled || actions.extend.enabled || actions.transfer.enabled,
    check: (client, projectId) => client.stores.cancelSubscription(projectId, NO_SUBSCRIPTION),
  },
  'customer_information:purchases:read_write': {
    feature: 'Store actions',
    isNeeded: ({ actions }) => actions.refund.enabled || actions.transfer.enabled,
    check: (client, projectId) => client.stores.refund(projectId, 'purchase', NO_PURCHASE),
  },
  [WRITE_WEBHOOKS]: {
    feature: 'Adding and removing the webhook for you',
    isOptional: true,
    check: (client, projectId) => client.deleteWebhook(projectId, NO_WEBHOOK),
  },
};

/** Whether a feature does not work because the key lacks a permission. */
export function lacksPermission(missingScopes: readonly string[]): boolean {
  return missingScopes.some((scope) => !PERMISSIONS[scope]?.isOptional);
}

/** The missing permissions without which no customer can be looked up in RevenueCat. */
export function missingToReadCustomers({ missingScopes }: Pick<Project, 'missingScopes'>): string[] {
  return missingScopes.filter((scope) => PERMISSIONS[scope]?.feature === CARD);
}

export function canReadCustomers(project: Project): boolean {
  return hasWorkingKey(project) && missingToReadCustomers(project).length === 0;
}

export function canAddWebhook(project: Project): boolean {
  return hasWorkingKey(project) && !project.missingScopes.includes(WRITE_WEBHOOKS);
}

/** The missing permissions by the feature that needs them. */
export function missingByFeature(missingScopes: readonly string[]): { feature: string; scopes: string[] }[] {
  const byFeature = Map.groupBy(missingScopes, (scope) => PERMISSIONS[scope]?.feature ?? scope);
  return [...byFeature].map(([feature, scopes]) => ({ feature, scopes }));
}

/**
 * Checks a key, with one harmless call for each permission that the switched-on features need.
 *
 * @param projectId the project that an admin named; `null`: the only project that the key lists
 */
export async function checkApiKey(
  client: RevenueCatClient,
  projectId: string | null,
  settings: WorkspaceSettings,
) {
  try {
    const projects = await nullOn('revenuecat_scope_missing', client.listProjects());
    const project = projectOfKey(projects, projectId);
    if (project === 'wrong') return { outcome: 'wrong_project' } as const;
    // The key belongs to several projects, or cannot list them: an admin must choose.
    if (project === null) return { outcome: 'choose', projects: projects ?? [] } as const;
    const missingScopes = projects === null ? [LIST_PROJECTS] : [];
    let isOfKey = projects !== null;
    for (const [scope, { isNeeded, check }] of Object.entries(PERMISSIONS)) {
      if (scope === LIST_PROJECTS || isNeeded?.(settings) === false) continue;
      const trying = check(client, project.id).then(() => true, allowedByRefusal(scope, projects !== null));
      const answer = await nullOn('revenuecat_scope_missing', trying);
      if (answer === null) missingScopes.push(scope);
      else isOfKey = true;
    }
    // A key of another project is refused like one without permissions. Source: RevenueCat, API v2, "Error types".
    if (!isOfKey) return { outcome: 'wrong_project' } as const;
    return { outcome: 'valid', project, missingScopes } as const;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'revenuecat_unauthorized') return { outcome: 'rejected' } as const;
    if (error.code === 'revenuecat_not_found') return { outcome: 'wrong_project' } as const;
    // RevenueCat does not answer, or its rate limit is used up.
    return { outcome: 'unreachable', code: error.code } as const;
  }
}

function projectOfKey(
  projects: readonly { id: string; name: string }[] | null,
  named: string | null,
): { id: string; name: string } | 'wrong' | null {
  if (named === null) return projects?.length === 1 ? (projects[0] ?? null) : null;
  const projectId = withPrefix(named);
  if (projects === null) return { id: projectId, name: projectId };
  return projects.find(({ id }) => id === projectId) ?? 'wrong';
}

/**
 * A write to a resource that does not exist gets 404, 409 or 422 only if the key has the permission. In a project that the
 * key lists, 404 to a read means that RevenueCat does not offer that endpoint.
 */
function allowedByRefusal(scope: string, isListed: boolean): (error: unknown) => true {
  return (error) => {
    const code = error instanceof AppError ? error.code : null;
    if (code === 'revenuecat_not_found' && isListed) return true;
    const isRefusal =
      code !== null && ['revenuecat_not_found', 'revenuecat_rejected', 'revenuecat_conflict'].includes(code);
    if (isRefusal && scope.endsWith(':read_write')) return true;
    throw error;
  };
}
