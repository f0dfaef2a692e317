import pLimit, { type LimitFunction } from 'p-limit';
import type { Logger } from 'pino';
import { keyed } from '../database/batcher.ts';
import { CatalogEntity, type CatalogRow, type ProjectRow, upsert } from '../database/entities.ts';
import type { Database } from '../database/sql.ts';
import { AppError, nullOn } from '../errors.ts';
import { HOUR_MS } from '../time.ts';
import { readCatalog } from './catalog.ts';
import type { RevenueCatClient } from './client.ts';

/** Names change rarely, and their endpoints allow 60 calls a minute. */
const MAX_AGE_MS = HOUR_MS;

interface CatalogContext {
  readonly database: Database;
  readonly logger: Logger;
  now(): number;
}

type CatalogProject = Pick<ProjectRow, 'workspaceId' | 'projectId' | 'revenueCatProjectId'>;

/** What this process has read of a project's catalog. */
interface CatalogState {
  /** One at a time: whatever needs the names waits for the same calls, which are the scarcest. */
  readonly turn: LimitFunction;
  entries: readonly CatalogRow[];
  /** When they were last read from RevenueCat, epoch ms. */
  readAtMs: number;
  /** RevenueCat's ids that customers have and its lists do not: deleted products, or a key that may not read them. */
  readonly unlisted: Set<string>;
}

const states = new WeakMap<Database, (key: string) => CatalogState>();

function stateOf({ database }: CatalogContext, project: CatalogProject): CatalogState {
  const stateFor =
    states.get(database) ??
    keyed((): CatalogState => ({ turn: pLimit(1), entries: [], readAtMs: 0, unlisted: new Set() }));
  states.set(database, stateFor);
  return stateFor(`${project.workspaceId}|${project.projectId}`);
}

/** The project's catalog, read from RevenueCat when it is older than an hour or lacks one of RevenueCat's ids. */
export async function readCatalogNames(
  context: CatalogContext,
  project: CatalogProject,
  client: RevenueCatClient,
  ids: readonly string[] = [],
): Promise<readonly CatalogRow[]> {
  const { database, logger, now } = context;
  const { workspaceId, projectId } = project;
  const state = stateOf(context, project);
  const isFresh = (): boolean => state.readAtMs >= now() - MAX_AGE_MS;
  // RevenueCat is asked once an hour for each id.
  const missing = (): string[] =>
    ids.filter((id) => !state.unlisted.has(id) && state.entries.every((entry) => entry.id !== id));
  const isOutdated = (): boolean => !isFresh() || missing().length > 0;

  async function readStored(): Promise<void> {
    state.entries = await readCatalog(database, workspaceId, projectId);
    // Names that RevenueCat no longer lists stay, for old events: the newest row shows when they were read.
    state.readAtMs = Math.max(state.readAtMs, ...state.entries.map(({ fetchedAt }) => fetchedAt.getTime()));
  }

  async function refresh(): Promise<void> {
    await refreshCatalog(context, project, client);
    await readStored();
    state.readAtMs = now();
  }

  // What is known waits for no read of what is not: that of an import may take long.
  if (!isOutdated()) return state.entries;
  return state.turn(async () => {
    // Another process may have read them since.
    if (isOutdated()) await readStored();
    try {
      if (!isFresh()) state.unlisted.clear();
      if (isOutdated()) await refresh();
      for (const id of missing()) state.unlisted.add(id);
    } catch (error) {
      if (!(error instanceof AppError) || !isFresh()) throw error;
      // The customer is read without the new names; the next read tries again.
      logger.warn({ code: error.code, projectId }, 'new names not read');
    }
    return state.entries;
  });
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
  const items = [
    ...entitlements.map((item) => ({ ...item, kind: 'entitlement' as const })),
    ...(products ?? []).map((item) => ({ ...item, kind: 'product' as const })),
  ];
  const rows = items.map((item) => ({ ...item, workspaceId, projectId, fetchedAt }));
  for (let from = 0; from < rows.length; from += BATCH_SIZE)
    await upsert(database, CatalogEntity, rows.slice(from, from + BATCH_SIZE));
}
