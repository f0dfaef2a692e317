import { readCatalogNames } from '../revenuecat/catalog.ts';
import { type RefreshContext, storeReading, withKey } from '../subscribers/refresh.ts';
import { markPending } from '../subscribers/store.ts';
import { isBlockedId, preferredAppUserIds } from '../subscription/identities.ts';
import { revenueCatClientFor } from '../workspaces/clients.ts';
import { readProject } from '../workspaces/projects.ts';
import { importEvents } from './history-events.ts';

export type CustomerImport = 'imported' | 'unknown_customer' | 'no_key' | 'key_rejected' | 'blocked_id';

/**
 * Imports one customer whom an agent asks for and nobody knows yet: looked up in RevenueCat by any of their app
 * user ids, never created there. Past events go to the timeline, not to the contact. Repeating it changes nothing.
 *
 * @throws AppError when RevenueCat is away or asks to wait
 */
export async function importCustomer(
  context: RefreshContext,
  workspaceId: string,
  projectId: string,
  appUserId: string,
): Promise<CustomerImport> {
  if (isBlockedId(appUserId)) return 'blocked_id';
  const project = await readProject(context.database, workspaceId, projectId);
  // Somebody waits for it, though not at the card itself: it goes before imports and refreshing.
  const client = project && revenueCatClientFor(context, project, { priority: 'interactive' });
  if (!project || !client) return 'no_key';
  return withKey(context, project, async () => {
    const names = await readCatalogNames(context, project, client);
    const reading = await client.readCustomer(project.revenueCatProjectId, appUserId, names);
    if (!reading) return 'unknown_customer';
    const { customerId, aliases } = reading.snapshot;
    const appUserIds = preferredAppUserIds([customerId, appUserId, ...aliases]);
    await importEvents({ ...context, client }, project, { customerId, appUserIds }, null);
    const stored = await storeReading(context, project, reading);
    await markPending(context.database, workspaceId, stored.subscriberId);
    return 'imported';
  });
}
