import pLimit, { type LimitFunction } from 'p-limit';
import type { Logger } from 'pino';
import type { Database, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { HOUR_MS } from '../time.ts';
import { type CatalogEntry, readCatalog } from './catalog-names.ts';
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
  const { database, now } = context;
  const { workspaceId, projectId } = project;
  const state = stateOf(context, project);
  const read = (): Promise<CatalogEntry[]> => readCatalog(database, workspaceId, projectId);
  // Names that RevenueCat no longer lists stay, for old events: the newest row shows when they were read.
  const isStale = (entries: readonly CatalogEntry[]): boolean =>
    Math.max(state.readAtMs, ...entries.map((entry) => entry.fetchedAt.getTime())) < now() - MAX_AGE_MS;
  let entries = await read();
  if (isStale(entries)) {
    entries = await state.turn(async () => {
      if (!isStale(await read())) return read();
      await refreshCatalog(context, project, client);
      state.readAtMs = now();
      state.unlisted.clear();
      return read();
    });
  }

  /** @returns the names that have `unknown` ids, if there are such; `null`: nothing new */
  async function readUnknown(unknown: readonly string[]): Promise<CatalogEntry[] | null> {
    // Asked once an hour for each id.
    const wanted = unknown.filter((id) => !state.unlisted.has(id));
    if (wanted.length === 0) return null;
    const missing = (found: readonly CatalogEntry[]): string[] =>
      wanted.filter((id) => found.every((entry) => entry.id !== id));
    const known = await read();
    if (missing(known).length === 0) return known;
    try {
      await refreshCatalog(context, project, client);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // The customer is read without the names; the next read tries again.
      context.logger.warn({ code: error.code, projectId }, 'new names not read');
      return known;
    }
    state.readAtMs = now();
    const found = await read();
    for (const id of missing(found)) state.unlisted.add(id);
    return found;
  }
  return namesOf(entries, (unknown) => state.turn(() => readUnknown(unknown)));
}

function namesOf(
  entries: readonly CatalogEntry[],
  readUnknown: (unknown: readonly string[]) => Promise<CatalogEntry[] | null>,
): CatalogNames {
  const byId = new Map(entries.map((entry) => [`${entry.kind}|${entry.id}`, entry]));
  const names: CatalogNames = {
    entitlementKey: (id) => byId.get(`entitlement|${id}`)?.lookupKey ?? null,
    product(id) {
      const found = byId.get(`product|${id}`);
      return found ? { storeIdentifier: found.lookupKey, displayName: found.displayName } : null;
    },
    async knowing(ids) {
      const unknown = ids.filter((id) => !byId.has(`entitlement|${id}`) && !byId.has(`product|${id}`));
      if (unknown.length === 0) return names;
      const newer = await readUnknown(unknown);
      return newer ? namesOf(newer, readUnknown) : names;
    },
  };
  return names;
}

/** Reads the names of entitlements and products. A key that may not read products still gives entitlements. */
async function refreshCatalog(
  { database, logger }: CatalogContext,
  project: CatalogProject,
  client: RevenueCatClient,
): Promise<void> {
  const entitlements = await client.listEntitlements(project.revenueCatProjectId);
  const products = await client.listProducts(project.revenueCatProjectId).catch((error: unknown) => {
    if (!(error instanceof AppError) || error.code !== 'revenuecat_scope_missing') throw error;
    logger.info({ projectId: project.projectId }, 'the API key may not read products: their ids are shown');
    return [];
  });
  await saveCatalog(database, project, [
    ...entitlements.map((item) => ({ kind: 'entitlement' as const, ...item })),
    ...products.map((item) => ({ kind: 'product' as const, ...item })),
  ]);
}

async function saveCatalog(
  sql: Sql,
  project: CatalogProject,
  items: readonly (CatalogItem & { kind: CatalogEntry['kind'] })[],
): Promise<void> {
  await sql.query(
    `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name, fetched_at)
     select $1, $2, t.kind, t.id, t.lookup_key, t.display_name, now()
       from unnest($3::text[], $4::text[], $5::text[], $6::text[]) as t (kind, id, lookup_key, display_name)
     on conflict (workspace_id, project_id, kind, id)
     do update set lookup_key = excluded.lookup_key, display_name = excluded.display_name, fetched_at = excluded.fetched_at`,
    [
      project.workspaceId,
      project.projectId,
      items.map((item) => item.kind),
      items.map((item) => item.id),
      items.map((item) => item.lookupKey),
      items.map((item) => item.displayName),
    ],
  );
}
