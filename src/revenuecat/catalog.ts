import { LRUCache } from 'lru-cache';
import { CatalogEntity, type CatalogRow, columnsOf } from '../database/entities.ts';
import type { Sql } from '../database/sql.ts';
import type { Names } from '../subscription/names.ts';
import { expiresAfter, MINUTE_MS } from '../time.ts';

/** Display names change rarely and decide nothing. */
const MAX_AGE_MS = MINUTE_MS;
/** An empty catalog has not been read from RevenueCat yet, and is about to be. */
const EMPTY_MAX_AGE_MS = 5_000;
const MAX_PROJECTS = 500;

/** A project's entitlements and products as last read from RevenueCat. SQL, because it may run on a replica. */
export function readCatalog(sql: Sql, workspaceId: string, projectId: string): Promise<CatalogRow[]> {
  return sql.query<CatalogRow>(
    `select ${columnsOf(CatalogEntity)} from catalog where workspace_id = $1 and project_id = $2`,
    [workspaceId, projectId],
    'read-catalog',
  );
}

/** Finds display names by both identifiers: events use the store's for products, RevenueCat's API uses its own ID. */
export function displayNames(catalog: readonly CatalogRow[]): Names {
  const names = new Map<string, string | null>();
  for (const entry of catalog) names.set(`${entry.kind}|${entry.id}`, entry.displayName ?? entry.lookupKey);
  for (const entry of catalog) names.set(`${entry.kind}|${entry.lookupKey}`, entry.displayName);
  return {
    product: (id) => names.get(`product|${id}`) ?? null,
    entitlement: (key) => names.get(`entitlement|${key}`) ?? null,
  };
}

export type CatalogCache = ReturnType<typeof createCatalogCache>;

interface CachedNames {
  readonly names: Names;
  /** The catalog as JSON, to find out whether anything has changed. */
  readonly text: string;
}

/** A project's display names, read once a minute by each process. */
export function createCatalogCache(now: () => number) {
  const cache = new LRUCache<string, CachedNames, { read(): Promise<CatalogRow[]> }>({
    max: MAX_PROJECTS,
    ...expiresAfter(MAX_AGE_MS, now),
    // An invalidation must not fail the calls that already wait for the names.
    ignoreFetchAbort: true,
    async fetchMethod(_key, before, { context, options }) {
      const catalog = await context.read();
      if (catalog.length === 0) options.ttl = EMPTY_MAX_AGE_MS;
      const text = JSON.stringify(catalog.map(({ fetchedAt: _, ...entry }) => entry));
      return before?.text === text ? before : { names: displayNames(catalog), text };
    },
  });
  const keyOf = (workspaceId: string, projectId: string): string => `${workspaceId}|${projectId}`;
  return {
    /** The same object as long as no name has changed. */
    async names(sql: Sql, workspaceId: string, projectId: string): Promise<Names> {
      const read = () => readCatalog(sql, workspaceId, projectId);
      return (await cache.forceFetch(keyOf(workspaceId, projectId), { context: { read } })).names;
    },
    /** Call this when new names may just have been read from RevenueCat. */
    invalidate(workspaceId: string, projectId: string): void {
      cache.delete(keyOf(workspaceId, projectId));
    },
  };
}
