import { AppError, answerOrError, nullOn } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { preferredAppUserIds } from '../subscription/app-user-ids.ts';
import { withTimeout } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { recordKeyState } from '../workspaces/key-state.ts';
import type { Project } from '../workspaces/projects.ts';
import { failed } from './action-error.ts';
import type { ActionContext, ActionCustomer } from './context.ts';

/** How many of a customer's ids are tried. RevenueCat finds a customer by any of them, and most customers have few. */
const MAX_IDS = 3;
/** How long a view waits for RevenueCat before it shows what is stored, ms. */
const READ_TIMEOUT_MS = 2_000;

/** Codes of temporary errors, which say nothing about the customer. */
export const OUTAGE_ERRORS: readonly string[] = ['revenuecat_unavailable', 'revenuecat_rate_limited'];

/** Ids to act with, best first; empty: RevenueCat accepts none. */
export function usableIds({ appUserId, appUserIds }: ActionCustomer): string[] {
  return preferredAppUserIds([appUserId, ...appUserIds]);
}

/** Reads something of the customer by the first id that RevenueCat knows. @throws ActionError when that fails */
export function readByKnownId<T>(
  context: ActionContext,
  read: (client: RevenueCatClient, appUserId: string) => Promise<T>,
): Promise<T> {
  return readFromRevenueCat(context, async (client) => {
    for (const appUserId of usableIds(context.customer).slice(0, MAX_IDS)) {
      const found = await nullOn('revenuecat_not_found', read(client, appUserId));
      if (found !== null) return found;
    }
    throw failed('unknown_customer');
  });
}

/** Reads from RevenueCat within the time that an agent waits. @throws ActionError when that fails */
export async function readFromRevenueCat<T>(
  { app, customer }: ActionContext,
  read: (client: RevenueCatClient) => Promise<T>,
): Promise<T> {
  const { workspaceId } = customer.project;
  const reading = answerOrError(withClient(app, customer.project, read));
  const found = await withTimeout(reading, READ_TIMEOUT_MS, () => {
    throw failed('revenuecat_unavailable');
  });
  if (!(found instanceof AppError)) return found;
  if (found.code === 'revenuecat_unauthorized') await recordKeyState(app, customer.project, 'rejected');
  app.logger.warn({ code: found.code, workspaceId }, 'could not read from RevenueCat');
  throw failed(found.code);
}

/** Makes a call. Asynchronous, so that a key that cannot be decrypted rejects like any failed call. */
export async function withClient<T>(
  app: AppContext,
  project: Project,
  call: (client: RevenueCatClient) => Promise<T>,
): Promise<T> {
  const client = app.revenueCat(project, { timeoutMs: READ_TIMEOUT_MS });
  if (!client) throw failed('revenuecat_unauthorized');
  return call(client);
}
