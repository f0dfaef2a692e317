import pLimit from 'p-limit';
import { codeOf, isDatabaseUnavailable } from '../errors.ts';
import { withoutValues } from '../logger.ts';
import { readErasureKey } from '../subscribers/erased-ids.ts';
import { tryLockProject } from '../subscribers/identity.ts';
import { isRecord } from '../text.ts';
import { pause, repeat } from '../time.ts';
import { withSpan } from '../tracing.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import {
  type JournalRow,
  listUnprocessedProjects,
  markProcessed,
  markReceived,
  pruneErased,
  readUnprocessed,
} from './journal.ts';
import { dropErased, type PreparedEvent, prepareEvent, storeEventsIn } from './store-events.ts';

interface ProcessingContext extends Pick<AppContext, 'database' | 'secrets' | 'logger'> {
  /** Wakes the delivery worker of this process. Workers of other processes poll for what is left. */
  readonly onPending?: (workspaceId: string) => void;
  /** Called after purchases were transferred, with the app user ids of both sides. */
  readonly onTransfer?: (project: ProjectKey, appUserIds: readonly string[]) => Promise<void>;
}

/** Rows of one transaction. */
const MAX_BATCH = 250;
const PROJECTS_IN_PARALLEL = 4;
/** The safety net behind `wake` and NOTIFY. */
const POLL_MS = 1_000;
/** Pauses while another process works on the same project. */
const BUSY_MS = { first: 20, last: 500 };

/** Runs a batch in its turn, so that a project with a long backlog does not keep the others waiting. */
const inSlot = pLimit(PROJECTS_IN_PARALLEL);

/** Interprets the journal, one project's rows in order, several projects in parallel. */
export function createProcessor(context: ProcessingContext) {
  const { database, logger } = context;
  const running = new Map<string, Promise<void>>();
  /** Running projects that have received more webhooks. */
  const wokenAgain = new Set<string>();
  const stopping = new AbortController();
  let polling: Promise<void> | null = null;

  function wake(project: ProjectKey): void {
    if (stopping.signal.aborted) return;
    const key = `${project.workspaceId}/${project.projectId}`;
    if (running.has(key)) wokenAgain.add(key);
    else running.set(key, processAll(key, project));
  }

  async function processAll(key: string, project: ProjectKey): Promise<void> {
    try {
      do {
        wokenAgain.delete(key);
        await processProject(context, project, stopping.signal);
      } while (wokenAgain.has(key) && !stopping.signal.aborted);
    } catch (error) {
      const about = { err: error, unavailable: isDatabaseUnavailable(error), ...project };
      logger.warn(about, 'could not process webhooks; trying again');
    } finally {
      running.delete(key);
    }
  }

  async function poll(): Promise<void> {
    try {
      for (const project of await listUnprocessedProjects(database)) wake(project);
    } catch (error) {
      const about = { err: error, unavailable: isDatabaseUnavailable(error) };
      logger.warn(about, 'could not look for webhooks to process');
    }
  }

  return {
    start(): void {
      polling = repeat(POLL_MS, stopping.signal, poll);
    },
    /** Finishes the running batches. */
    async stop(): Promise<void> {
      stopping.abort();
      await polling;
      await Promise.all(running.values());
    },
    wake,
  };
}

/**
 * Processes everything that a project has received. When a row breaks its batch's transaction, smaller batches isolate
 * it. Alone in its batch, it is marked with its error, and the rows after it continue.
 *
 * @param stopping ends it after the running batch
 * @returns numbers of webhooks; of those that were processed, `failed` could not be interpreted
 */
export async function processProject(
  context: ProcessingContext,
  project: ProjectKey,
  stopping: AbortSignal = new AbortController().signal,
): Promise<{ processed: number; failed: number }> {
  const counts = { processed: 0, failed: 0 };
  let limit = MAX_BATCH;
  let busyMs = BUSY_MS.first;
  while (!stopping.aborted) {
    const batch = await inSlot(() => processBatch(context, project, limit));
    if (batch === 'busy') {
      await pause(busyMs, stopping);
      busyMs = Math.min(busyMs * 2, BUSY_MS.last);
      continue;
    }
    limit = batch.nextLimit;
    counts.processed += batch.processed;
    counts.failed += batch.failed;
    if (batch.processed > 0) context.onPending?.(project.workspaceId);
    if (batch.transferred.length > 0) await context.onTransfer?.(project, batch.transferred);
    if (!batch.hasMore) break;
  }
  return counts;
}

const NOTHING_PROCESSED = { processed: 0, failed: 0, transferred: [] as readonly string[] };

async function processBatch(
  { database, secrets, logger }: ProcessingContext,
  project: ProjectKey,
  maxRows: number,
) {
  let rows: readonly JournalRow[] = [];
  const run = (limit: number, broken: Errors = new Map()) =>
    database.transaction(async (sql) => {
      // Sent together in this order, so that the rows are read after the lock was taken.
      const [isLocked, unprocessed, erasureKey] = await Promise.all([
        tryLockProject(sql, project),
        readUnprocessed(sql, project, limit),
        readErasureKey(sql, project),
        // A crash of PostgreSQL may lose the batch: its rows are then unprocessed again. Before it sends an event, the
        // worker commits its name and second synchronously, and with them everything that was committed before.
        sql.query('set local synchronous_commit = off'),
      ]);
      if (!isLocked) return 'busy' as const;
      rows = unprocessed;
      const nextLimit = Math.min(limit * 2, MAX_BATCH);
      if (rows.length === 0) return { ...NOTHING_PROCESSED, hasMore: false, nextLimit };
      const { events, errors } = interpretWebhooks(rows, broken);
      const attributes = { ...project, eventIds: rows.map(({ eventId }) => eventId) };
      await Promise.all([
        withSpan('process webhooks', attributes, async () => {
          const { remaining, erasedEvents } = await dropErased({ sql, secrets, erasureKey }, project, events);
          await storeEventsIn(sql, project, remaining);
          await pruneErased(sql, project, erasedEvents);
        }),
        markProcessed(sql, project, rows, errors),
        markReceived(sql, project),
      ]);
      for (const [eventId, error] of errors)
        logger.error({ ...project, eventId, error }, 'a webhook could not be interpreted');
      const transfers = events.filter(({ source }) => source.length > 0);
      return {
        processed: rows.length,
        failed: errors.size,
        /** App user ids of the customers on both sides of transfers. */
        transferred: transfers.flatMap(({ customer, source }) => [...customer, ...source]),
        hasMore: rows.length === limit,
        nextLimit,
      };
    });
  try {
    return await run(maxRows);
  } catch (error) {
    const [broken] = rows;
    if (broken === undefined || !isCausedByData(error)) throw error;
    if (rows.length > 1) return { ...NOTHING_PROCESSED, hasMore: true, nextLimit: 1 };
    // Limited to this row, without those that arrived since.
    return run(1, new Map([[broken.eventId, describeFailure(error)]]));
  }
}

/** Errors of webhooks that could not be interpreted, by event id. */
type Errors = ReadonlyMap<string, string>;

/** @param broken errors of webhooks that can be interpreted but not stored */
export function interpretWebhooks(
  webhooks: readonly Omit<JournalRow, 'sequence'>[],
  broken: Errors = new Map(),
): { events: PreparedEvent[]; errors: Errors } {
  const errors = new Map<string, string>();
  const events = webhooks.flatMap(({ eventId, payload, receivedAtMs }) => {
    try {
      const reason = broken.get(eventId);
      if (reason !== undefined) throw new Error(reason);
      const body: unknown = JSON.parse(payload);
      const event = isRecord(body) ? body.event : undefined;
      if (!isRecord(event)) throw new Error('The payload has no "event" object');
      return [prepareEvent(event, receivedAtMs, eventId)];
    } catch (error) {
      errors.set(eventId, describeFailure(error));
      return [];
    }
  });
  return { events, errors };
}

/** The error text that is stored with a webhook, without data of the customer. */
function describeFailure(error: unknown): string {
  return withoutValues(error instanceof Error ? error.message : String(error));
}

/** Whether data caused it: PostgreSQL's classes for what a column or an index cannot hold (appendix A), or our code. */
function isCausedByData(error: unknown): boolean {
  if (isDatabaseUnavailable(error)) return false;
  const code = codeOf(error);
  return code === undefined || /^(22|23|54)/.test(code);
}
