import pLimit, { type LimitFunction } from 'p-limit';
import type { Logger } from 'pino';
import { createKeyedCache } from '../database/batcher.ts';
import { CatalogEntity, type CatalogRow, type ProjectRow, upsert } from '../database/entities.ts';
import type { Database } from '../database/sql.ts';
import { AppError, nullOn } from '../errors.ts';
import { MINUTE_MS } from '../time.ts';
import { readCatalog } from './catalog.ts';
import type { RevenueCatClient } from './client.ts';

/** Names change rarely, and their endpoints allow 60 calls a minute; a new entitlement is to be granted soon. */
const MAX_AGE_MS = 10 * MINUTE_MS;
/** An agent who is told that there is no entitlement has one created, and tries again. */
const EMPTY_MAX_AGE_MS = MINUTE_MS;

/** A project, with the client that has its key. */
export interface CatalogContext {
  readonly database: Database;
  readonly logger: Logger;
  readonly project: Pick<ProjectRow, 'workspaceId' | 'projectId' | 'revenueCatProjectId'>;
  readonly client: RevenueCatClient;
  now(): number;
}

/**
 * The project's whole catalog. It is read from RevenueCat when it is older than ten minutes or lacks one of `ids`, which
 * are RevenueCat's own IDs. Each ID is looked for once in that time.
 */
export async function readCurrentCatalog(
  context: CatalogContext,
  ids: readonly string[] = [],
): Promise<readonly CatalogRow[]> {
  const state = stateOf(context);
  const isCurrent = (): boolean => isFresh(context, state) && ids.every((id) => state.knownIds.has(id));
  // A call for known names does not wait for a read of unknown ones, which may take long during an import.
  if (isCurrent()) return state.entries;
  return state.oneAtATime(async () => {
    // While this call waited, this process or another one may have read the catalog.
    if (!isCurrent()) await loadStored(context, state);
    if (!isCurrent()) await refresh(context, state, ids);
    return state.entries;
  });
}

/** What this process has read of a project's catalog. */
interface CatalogState {
  /** One read at a time: all that need the names wait for the same calls, whose rate limit is the lowest. */
  readonly oneAtATime: LimitFunction;
  entries: readonly CatalogRow[];
  /** When the entries were last read from RevenueCat, epoch ms. */
  readAtMs: number;
  /** IDs in `entries`, and IDs that RevenueCat does not list: the product was deleted, or the key may not read it. */
  readonly knownIds: Set<string>;
}

const states = new WeakMap<Database, (key: string) => CatalogState>();

function stateOf({ database, project }: CatalogContext): CatalogState {
  const stateFor =
    states.get(database) ??
    createKeyedCache(
      (): CatalogState => ({ oneAtATime: pLimit(1), entries: [], readAtMs: 0, knownIds: new Set() }),
    );
  states.set(database, stateFor);
  return stateFor(`${project.workspaceId}|${project.projectId}`);
}

function isFresh({ now }: CatalogContext, { entries, readAtMs }: CatalogState): boolean {
  const hasEntitlement = entries.some(({ kind }) => kind === 'entitlement');
  return readAtMs >= now() - (hasEntitlement ? MAX_AGE_MS : EMPTY_MAX_AGE_MS);
}

async function loadStored({ database, project }: CatalogContext, state: CatalogState): Promise<void> {
  state.entries = await readCatalog(database, project.workspaceId, project.projectId);
  for (const { id, fetchedAt } of state.entries) {
    state.knownIds.add(id);
    // Rows that RevenueCat no longer lists stay, for old events. The newest row shows when the catalog was read.
    state.readAtMs = Math.max(state.readAtMs, fetchedAt.getTime());
  }
}

async function refresh(context: CatalogContext, state: CatalogState, ids: readonly string[]): Promise<void> {
  try {
    await storeCatalog(context);
    await loadStored(context, state);
    state.readAtMs = context.now();
    for (const id of ids) state.knownIds.add(id);
  } catch (error) {
    if (!(error instanceof AppError) || !isFresh(context, state)) throw error;
    // The customer is read without the new names; the next read tries again.
    context.logger.warn({ code: error.code, projectId: context.project.projectId }, 'new names not read');
  }
}

/** A statement takes at most 65,535 parameters. */
const BATCH_SIZE = 1_000;

/** Stores the names of RevenueCat's entitlements and products. A key that may not read products still gives entitlements. */
async function storeCatalog({ database, logger, now, project, client }: CatalogContext): Promise<void> {
  const { workspaceId, projectId, revenueCatProjectId } = project;
  const entitlements = await client.listEntitlements(revenueCatProjectId);
  const products = await nullOn('revenuecat_scope_missing', client.listProducts(revenueCatProjectId));
  if (products === null) logger.info({ projectId }, 'the API key may not read products: their ids are shown');
  const common = { workspaceId, projectId, fetchedAt: new Date(now()), isActive: true };
  const rows = [
    ...entitlements.map((item) => ({ ...common, ...item, kind: 'entitlement' as const })),
    ...(products ?? []).map((item) => ({ ...common, ...item, kind: 'product' as const })),
  ];
  for (let from = 0; from < rows.length; from += BATCH_SIZE)
    await upsert(database, CatalogEntity, rows.slice(from, from + BATCH_SIZE));
  await database.query(
    `update catalog set is_active = false
      where workspace_id = $1 and project_id = $2 and kind = 'entitlement' and is_active
        and not (id = any($3))`,
    [workspaceId, projectId, entitlements.map(({ id }) => id)],
  );
}
