import pLimit, { type LimitFunction } from 'p-limit';
import type { Logger } from 'pino';
import { CatalogEntity, type CatalogRow, upsert } from '../database/entities.ts';
import type { Database } from '../database/sql.ts';
import { AppError, nullOn } from '../errors.ts';
import { HOUR_MS } from '../time.ts';
import { readCatalog } from './catalog.ts';
import type { CatalogItem, RevenueCatClient } from './client.ts';
import type { CatalogNames } from './snapshot.ts';

/** Names change rarely, and their endpoints allow 60 calls a minute. */
const MAX_AGE_MS = HOUR_MS;

interface CatalogContext {
  readonly database: Database;
  readonly logger: Logger;
  now(): number;
}

/** A connected project. */
interface CatalogProject {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly revenueCatProjectId: string;
}

/** What this process knows of a project's catalog. */
interface CatalogState {
  /** One refresh at a time: whatever needs the names waits for the same calls, which are the scarcest. */
  readonly turn: LimitFunction;
  /** When it was last read from RevenueCat, epoch ms. */
  readAtMs: number;
  /** RevenueCat's ids that customers have and its lists do not: deleted products, or a key that may not read them. */
  readonly unlisted: Set<string>;
}

const states = new WeakMap<Database, Map<string, CatalogState>>();

function stateOf({ database }: CatalogContext, project: CatalogProject): CatalogState {
  const projects = states.get(database) ?? new Map<string, CatalogState>();
  states.set(database, projects);
  const key = `${project.workspaceId}|${project.projectId}`;
  const state = projects.get(key) ?? { turn: pLimit(1), readAtMs: 0, unlisted: new Set() };
  projects.set(key, state);
  return state;
}

/**
 * The project's names of entitlements and products, read from RevenueCat when they are older than an hour, or when a
 * customer has one that is not among them.
 */
export async function readCatalogNames(
  context: CatalogContext,
  project: CatalogProject,
  client: RevenueCatClient,
): Promise<CatalogNames> {
  const { database, logger, now } = context;
  const { workspaceId, projectId } = project;
  const state = stateOf(context, project);
  const read = (): Promise<CatalogRow[]> => readCatalog(database, workspaceId, projectId);

  /** Reads the names from RevenueCat, unless those that another caller has just read suffice. */
  const refreshUnless = (suffices: (entries: readonly CatalogRow[]) => boolean): Promise<CatalogRow[]> =>
    state.turn(async () => {
      const stored = await read();
      if (suffices(stored)) return stored;
      await refreshCatalog(context, project, client);
      state.readAtMs = now();
      return read();
    });

  /** @returns the names that have `ids`, where they are new; `null`: nothing new */
  async function readUnknown(ids: readonly string[]): Promise<CatalogRow[] | null> {
    // RevenueCat is asked once an hour for each id.
    const missing = (entries: readonly CatalogRow[]): string[] =>
      ids.filter((id) => !state.unlisted.has(id) && entries.every((entry) => entry.id !== id));
    if (missing([]).length === 0) return null;
    try {
      const found = await refreshUnless((entries) => missing(entries).length === 0);
      for (const id of missing(found)) state.unlisted.add(id);
      return found;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // The customer is read without the names; the next read tries again.
      logger.warn({ code: error.code, projectId }, 'new names not read');
      return null;
    }
  }

  // Names that RevenueCat no longer lists stay, for old events: the newest row shows when they were read.
  const isFresh = (entries: readonly CatalogRow[]): boolean =>
    Math.max(state.readAtMs, ...entries.map((entry) => entry.fetchedAt.getTime())) >= now() - MAX_AGE_MS;
  let entries = await read();
  if (!isFresh(entries)) {
    entries = await refreshUnless(isFresh);
    state.unlisted.clear();
  }
  return namesOf(entries, readUnknown);
}

function namesOf(
  entries: readonly CatalogRow[],
  readUnknown: (unknown: readonly string[]) => Promise<CatalogRow[] | null>,
): CatalogNames {
  const byId = new Map(entries.map((entry) => [`${entry.kind}|${entry.id}`, entry]));
  const names: CatalogNames = {
    entitlementKey: (id) => byId.get(`entitlement|${id}`)?.lookupKey ?? null,
    product(id) {
      const found = byId.get(`product|${id}`);
      return found ? { storeIdentifier: found.lookupKey, displayName: found.displayName } : null;
    },
    async including(ids) {
      const unknown = ids.filter((id) => !byId.has(`entitlement|${id}`) && !byId.has(`product|${id}`));
      if (unknown.length === 0) return names;
      const newer = await readUnknown(unknown);
      return newer ? namesOf(newer, readUnknown) : names;
    },
  };
  return names;
}

/** A statement takes at most 65,535 parameters. */
const BATCH_SIZE = 1_000;

/** Reads the names of entitlements and products. A key that may not read products still gives entitlements. */
async function refreshCatalog(
  { database, logger, now }: CatalogContext,
  { workspaceId, projectId, revenueCatProjectId }: CatalogProject,
  client: RevenueCatClient,
): Promise<void> {
  const entitlements = await client.listEntitlements(revenueCatProjectId);
  const products = await nullOn('revenuecat_scope_missing', client.listProducts(revenueCatProjectId));
  if (products === null) logger.info({ projectId }, 'the API key may not read products: their ids are shown');
  const fetchedAt = new Date(now());
  const rowOf = (kind: CatalogRow['kind']) => (item: CatalogItem) => ({
    ...item,
    workspaceId,
    projectId,
    kind,
    fetchedAt,
  });
  const rows = [...entitlements.map(rowOf('entitlement')), ...(products ?? []).map(rowOf('product'))];
  for (let from = 0; from < rows.length; from += BATCH_SIZE)
    await upsert(database, CatalogEntity, rows.slice(from, from + BATCH_SIZE));
}
