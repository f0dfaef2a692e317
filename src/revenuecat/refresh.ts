import type { Logger } from 'pino';
import type { Database, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { preferredAppUserIds } from '../subscribers/identities.ts';
import { makeDue, readSubscriber, saveSnapshot } from '../subscribers/store.ts';
import type { SecretBox } from '../workspaces/secrets.ts';
import { type Project, readProject, sealedAs, setApiKeyState } from '../workspaces/store.ts';
import {
  type CatalogItem,
  type CatalogNames,
  createRevenueCatClient,
  type RevenueCatClient,
} from './client.ts';

/** Names change rarely, and their endpoints allow 60 calls a minute. */
const CATALOG_MAX_AGE_MS = 60 * 60 * 1_000;

export interface RefreshContext {
  readonly database: Database;
  readonly logger: Logger;
  readonly secrets: SecretBox;
  readonly apiUrl: string;
  now(): number;
}

/** The project's client; `null` without a usable key. */
export function clientFor(
  project: Project,
  context: Pick<RefreshContext, 'secrets' | 'apiUrl' | 'now'>,
  timeoutMs?: number,
): RevenueCatClient | null {
  if (project.apiKey === null) return null;
  return createRevenueCatClient({
    apiUrl: context.apiUrl,
    apiKey: context.secrets.open(project.apiKey, sealedAs.apiKey(project.workspaceId, project.projectId)),
    now: context.now,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
}

export type RefreshOutcome = 'refreshed' | 'no_key' | 'key_rejected' | 'unknown_customer';

/**
 * Reads a subscriber anew from RevenueCat. A customer that RevenueCat does not know keeps the state that its
 * events gave.
 *
 * @throws AppError when RevenueCat is away or asks to wait
 */
export async function refreshSubscriber(
  context: RefreshContext,
  workspaceId: string,
  subscriberId: string,
): Promise<RefreshOutcome> {
  const subscriber = await readSubscriber(context.database, workspaceId, subscriberId);
  const project = subscriber && (await readProject(context.database, workspaceId, subscriber.projectId));
  const client = project && clientFor(project, context);
  if (!subscriber || !project || !client) return 'no_key';
  try {
    const names = await readNames(context, project, client);
    for (const appUserId of preferredAppUserIds(subscriber.appUserIds).slice(0, 3)) {
      const snapshot = await client.snapshot(project.revenueCatProjectId, appUserId, names);
      if (!snapshot) continue;
      await saveSnapshot(context.database, workspaceId, subscriberId, snapshot);
      if (project.apiKeyState !== 'valid')
        await setApiKeyState(context.database, workspaceId, project.projectId, 'valid');
      await makeDue(context.database, workspaceId, subscriberId);
      return 'refreshed';
    }
    return 'unknown_customer';
  } catch (error) {
    if (error instanceof AppError && error.code === 'revenuecat_unauthorized') {
      await setApiKeyState(context.database, workspaceId, project.projectId, 'rejected');
      context.logger.warn({ workspaceId, projectId: project.projectId }, 'RevenueCat refuses the API key');
      return 'key_rejected';
    }
    throw error;
  }
}

interface CatalogRow {
  kind: 'entitlement' | 'product';
  id: string;
  lookup_key: string;
  display_name: string | null;
  fetched_at: Date;
}

async function readNames(
  context: RefreshContext,
  project: Project,
  client: RevenueCatClient,
): Promise<CatalogNames> {
  let rows = await readCatalog(context.database, project);
  const oldest = Math.min(...rows.map((row) => row.fetched_at.getTime()));
  if (rows.length === 0 || oldest < context.now() - CATALOG_MAX_AGE_MS) {
    await refreshCatalog(context, project, client);
    rows = await readCatalog(context.database, project);
  }
  const entitlements = new Map<string, string>();
  const products = new Map<string, { storeIdentifier: string; displayName: string | null }>();
  for (const row of rows) {
    if (row.kind === 'entitlement') entitlements.set(row.id, row.lookup_key);
    else products.set(row.id, { storeIdentifier: row.lookup_key, displayName: row.display_name });
  }
  return {
    entitlementKey: (id) => entitlements.get(id) ?? null,
    product: (id) => products.get(id) ?? null,
  };
}

async function readCatalog(sql: Sql, project: Project): Promise<CatalogRow[]> {
  return sql.query<CatalogRow>(
    `select kind, id, lookup_key, display_name, fetched_at from catalog where workspace_id = $1 and project_id = $2`,
    [project.workspaceId, project.projectId],
  );
}

/** Reads the names of entitlements and products. A key that may not read products still gives entitlements. */
export async function refreshCatalog(
  context: Pick<RefreshContext, 'database' | 'logger'>,
  project: Project,
  client: RevenueCatClient,
): Promise<void> {
  const entitlements = await client.listEntitlements(project.revenueCatProjectId);
  const products = await client.listProducts(project.revenueCatProjectId).catch((error: unknown) => {
    if (!(error instanceof AppError) || error.code !== 'revenuecat_scope_missing') throw error;
    context.logger.info(
      { projectId: project.projectId },
      'the API key may not read products: their ids are shown',
    );
    return [];
  });
  await saveCatalog(context.database, project, 'entitlement', entitlements);
  await saveCatalog(context.database, project, 'product', products);
}

async function saveCatalog(
  sql: Sql,
  project: Project,
  kind: 'entitlement' | 'product',
  items: readonly CatalogItem[],
): Promise<void> {
  await sql.query(
    `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
     select $1, $2, $3, t.id, t.lookup_key, t.display_name
       from unnest($4::text[], $5::text[], $6::text[]) as t (id, lookup_key, display_name)
     on conflict (workspace_id, project_id, kind, id)
     do update set lookup_key = excluded.lookup_key, display_name = excluded.display_name, fetched_at = now()`,
    [
      project.workspaceId,
      project.projectId,
      kind,
      items.map((item) => item.id),
      items.map((item) => item.lookupKey),
      items.map((item) => item.displayName),
    ],
  );
}
