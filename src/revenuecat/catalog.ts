import type { Logger } from 'pino';
import type { Database, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { Project } from '../workspaces/projects.ts';
import { type CatalogEntry, readCatalog } from './catalog-names.ts';
import type { CatalogItem, RevenueCatClient } from './client.ts';
import type { CatalogNames } from './snapshot.ts';

/** Names change rarely, and their endpoints allow 60 calls a minute. */
const CATALOG_MAX_AGE_MS = 60 * 60 * 1_000;

interface CatalogContext {
  readonly database: Database;
  readonly logger: Logger;
  now(): number;
}

/**
 * The project's names of entitlements and products, read anew when they are older than an hour, or when a customer
 * has one that is not among them.
 */
export async function readCatalogNames(
  context: CatalogContext,
  project: Project,
  client: RevenueCatClient,
): Promise<CatalogNames> {
  let rows = await readCatalog(context.database, project.workspaceId, project.projectId);
  // Names that RevenueCat no longer lists stay, for old events; so the newest row tells when they were read. A
  // project without any has no row to tell it.
  const key = `${project.workspaceId}|${project.projectId}`;
  const readAtMs = Math.max(
    readingsOf(context.database).readAtMs.get(key) ?? 0,
    ...rows.map((row) => row.fetchedAtMs),
  );
  if (readAtMs < context.now() - CATALOG_MAX_AGE_MS) {
    await refreshOnce(key, context, project, client);
    readingsOf(context.database).unlisted.delete(key);
    rows = await readCatalog(context.database, project.workspaceId, project.projectId);
  }
  return namesOf(rows, (unknown) =>
    inTurn(key, context, () => readAgain(key, context, project, client, unknown)),
  );
}

/** One after the other for a project: the next one then knows what the one before it asked for in vain. */
function inTurn<T>(key: string, context: CatalogContext, work: () => Promise<T>): Promise<T> {
  const { turns } = readingsOf(context.database);
  const turn = (turns.get(key) ?? Promise.resolve()).then(work);
  const over = turn.then(
    () => {},
    () => {},
  );
  turns.set(key, over);
  void over.then(() => {
    if (turns.get(key) === over) turns.delete(key);
  });
  return turn;
}

/** Reads the names anew for ids that none of them has; `null`: nothing has come of it. */
async function readAgain(
  key: string,
  context: CatalogContext,
  project: Project,
  client: RevenueCatClient,
  unknown: readonly string[],
): Promise<CatalogEntry[] | null> {
  const { unlisted } = readingsOf(context.database);
  const never = unlisted.get(key) ?? new Set();
  unlisted.set(key, never);
  // RevenueCat does not list what was deleted, and some keys may not read products: asked once an hour for each.
  const worthAsking = unknown.filter((id) => !never.has(id));
  if (worthAsking.length === 0) return null;
  const lacking = (rows: readonly CatalogEntry[]): string[] =>
    worthAsking.filter((id) => rows.every((row) => row.id !== id));
  let rows = await readCatalog(context.database, project.workspaceId, project.projectId);
  if (lacking(rows).length === 0) return rows;
  try {
    await refreshOnce(key, context, project, client);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // The customer is read all the same; the next reading asks again.
    context.logger.warn({ code: error.code, projectId: project.projectId }, 'new names not read');
    return rows;
  }
  rows = await readCatalog(context.database, project.workspaceId, project.projectId);
  for (const id of lacking(rows)) never.add(id);
  return rows;
}

function namesOf(
  rows: readonly CatalogEntry[],
  again: (unknown: readonly string[]) => Promise<CatalogEntry[] | null>,
): CatalogNames {
  const entitlements = new Map<string, string>();
  const products = new Map<string, { storeIdentifier: string; displayName: string | null }>();
  for (const row of rows) {
    if (row.kind === 'entitlement') entitlements.set(row.id, row.lookupKey);
    else products.set(row.id, { storeIdentifier: row.lookupKey, displayName: row.displayName });
  }
  const names: CatalogNames = {
    entitlementKey: (id) => entitlements.get(id) ?? null,
    product: (id) => products.get(id) ?? null,
    async knowing(ids) {
      const unknown = ids.filter((id) => !entitlements.has(id) && !products.has(id));
      if (unknown.length === 0) return names;
      const newer = await again(unknown);
      return newer ? namesOf(newer, again) : names;
    },
  };
  return names;
}

/** What this process knows of reading a project's names, for each database. */
interface Readings {
  readonly running: Map<string, Promise<void>>;
  /** The last of those that wait to read names for unknown ids. */
  readonly turns: Map<string, Promise<void>>;
  /** When they were last read, epoch ms. */
  readonly readAtMs: Map<string, number>;
  /** RevenueCat's ids that customers have and its lists do not, by project. */
  readonly unlisted: Map<string, Set<string>>;
}

const readings = new WeakMap<Database, Readings>();

function readingsOf(database: Database): Readings {
  const known = readings.get(database) ?? {
    running: new Map(),
    turns: new Map(),
    readAtMs: new Map(),
    unlisted: new Map(),
  };
  readings.set(database, known);
  return known;
}

/** Whoever needs the names while they are being read waits for the same answer: these calls are the scarcest. */
function refreshOnce(
  key: string,
  context: CatalogContext,
  project: Project,
  client: RevenueCatClient,
): Promise<void> {
  const { running, readAtMs } = readingsOf(context.database);
  const same = running.get(key);
  if (same) return same;
  const begun = refreshCatalog(context, project, client)
    .then(() => void readAtMs.set(key, context.now()))
    .finally(() => running.delete(key));
  running.set(key, begun);
  return begun;
}

/** Reads the names of entitlements and products. A key that may not read products still gives entitlements. */
async function refreshCatalog(
  context: CatalogContext,
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
    `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name, fetched_at)
     select $1, $2, $3, t.id, t.lookup_key, t.display_name, now()
       from unnest($4::text[], $5::text[], $6::text[]) as t (id, lookup_key, display_name)
     on conflict (workspace_id, project_id, kind, id)
     do update set lookup_key = excluded.lookup_key, display_name = excluded.display_name, fetched_at = excluded.fetched_at`,
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
