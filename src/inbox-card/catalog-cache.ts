import { LRUCache } from 'lru-cache';
import type { Sql } from '../database/sql.ts';
import type { Names } from '../subscription/names.ts';
import { readCatalogNames } from './store.ts';

/** Names of products and entitlements change rarely and decide nothing: they may be a minute old. */
const MAX_AGE_MS = 60_000;
/** Before they were read from RevenueCat for the first time there are none: they are about to come. */
const NONE_MAX_AGE_MS = 5_000;
/** Projects whose names are kept in memory; the one used longest ago goes first. */
const MAX_PROJECTS = 500;

export interface CatalogCache {
  /** The same object for as long as no name has changed. */
  names(sql: Sql, workspaceId: string, projectId: string): Promise<Names>;
  /** To be called when they may just have been read from RevenueCat anew. */
  forget(workspaceId: string, projectId: string): void;
}

interface Read {
  readonly names: Names;
  /** What was read, to tell whether anything has changed. */
  readonly text: string;
  readonly isEmpty: boolean;
}

/** Names of a project's products and entitlements, read once a minute by each process. */
export function createCatalogCache(now: () => number): CatalogCache {
  const kept = new LRUCache<string, Promise<Read>>({
    max: MAX_PROJECTS,
    ttl: MAX_AGE_MS,
    ttlResolution: 0,
    noDeleteOnStaleGet: true,
    perf: { now },
  });
  const keyOf = (workspaceId: string, projectId: string): string => JSON.stringify([workspaceId, projectId]);
  return {
    async names(sql, workspaceId, projectId) {
      const key = keyOf(workspaceId, projectId);
      const known = kept.get(key);
      if (known) return (await known).names;
      const read = readAgain(sql, workspaceId, projectId, kept.peek(key, { allowStale: true }));
      kept.set(key, read);
      try {
        const { names, isEmpty } = await read;
        if (isEmpty && kept.peek(key) === read) kept.set(key, read, { ttl: NONE_MAX_AGE_MS });
        return names;
      } catch (error) {
        // A failed read must not be the answer for a minute.
        if (kept.peek(key) === read) kept.delete(key);
        throw error;
      }
    },
    forget: (workspaceId, projectId) => void kept.delete(keyOf(workspaceId, projectId)),
  };
}

async function readAgain(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  before: Promise<Read> | undefined,
): Promise<Read> {
  const rows = await readCatalogNames(sql, workspaceId, projectId);
  const text = JSON.stringify(rows);
  const earlier = await before?.catch(() => undefined);
  if (earlier?.text === text) return earlier;
  const names = new Map<string, string | null>();
  // Events name products by the store's identifier, RevenueCat's API by its own id.
  for (const row of rows) names.set(`${row.kind}|${row.id}`, row.displayName ?? row.lookupKey);
  for (const row of rows) names.set(`${row.kind}|${row.lookupKey}`, row.displayName);
  return {
    names: {
      product: (id) => names.get(`product|${id}`) ?? null,
      entitlement: (key) => names.get(`entitlement|${key}`) ?? null,
    },
    text,
    isEmpty: rows.length === 0,
  };
}
