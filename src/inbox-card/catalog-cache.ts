import { LRUCache } from 'lru-cache';
import type { Sql } from '../database/sql.ts';
import type { Names } from '../subscribers/describe-event.ts';
import { readCatalogNames } from './store.ts';

/** Names of products and entitlements change rarely and decide nothing: they may be a minute old. */
const MAX_AGE_MS = 60_000;
/** Projects whose names are kept in memory; the one used longest ago goes first. */
const MOST_PROJECTS = 500;

export interface CatalogCache {
  names(sql: Sql, workspaceId: string, projectId: string): Promise<Names>;
}

/** Names of a project's products and entitlements, read once a minute by each process. */
export function createCatalogCache(now: () => number): CatalogCache {
  const kept = new LRUCache<string, Promise<Names>>({ max: MOST_PROJECTS, ttl: MAX_AGE_MS, perf: { now } });
  return {
    names(sql, workspaceId, projectId) {
      const key = JSON.stringify([workspaceId, projectId]);
      const known = kept.get(key);
      if (known) return known;
      const names = readNames(sql, workspaceId, projectId);
      kept.set(key, names);
      // A failed read must not be the answer for a minute.
      names.catch(() => kept.delete(key));
      return names;
    },
  };
}

async function readNames(sql: Sql, workspaceId: string, projectId: string): Promise<Names> {
  const rows = await readCatalogNames(sql, workspaceId, projectId);
  const names = new Map<string, string | null>();
  // Events name products by the store's identifier, RevenueCat's API by its own id.
  for (const row of rows) names.set(`${row.kind}|${row.id}`, row.displayName ?? row.lookupKey);
  for (const row of rows) names.set(`${row.kind}|${row.lookupKey}`, row.displayName);
  return {
    product: (id) => names.get(`product|${id}`) ?? null,
    entitlement: (key) => names.get(`entitlement|${key}`) ?? null,
  };
}
