import pLimit from 'p-limit';
import { retryAfterDeadlock, type Sql } from '../database/sql.ts';
import { AppError, codeOf, isDatabaseUnavailable } from '../errors.ts';
import { withoutValues } from '../logger.ts';
import { type ErasedContext, readErasureKey } from '../subscribers/erased-ids.ts';
import { tryLockProject } from '../subscribers/identity.ts';
import { isRecord } from '../text.ts';
import { pause } from '../time.ts';
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

/** What processing needs. */
interface ProcessingContext extends Pick<AppContext, 'database' | 'secrets' | 'logger'> {
  /** Wakes the delivery worker of this process. Workers of other processes poll for what is left. */
  readonly onPending?: (workspaceId: string) => void;
  /** Called after purchases were transferred, with the app user ids of both sides. */
  readonly onTransfer?: (project: ProjectKey, appUserIds: readonly string[]) => Promise<void>;
}

interface BatchCounts {
  readonly processed: number;
  /** Of these, the webhooks that could not be interpreted. */
  readonly failed: number;
}

/** Rows of one transaction. */
const MAX_BATCH = 250;
const PROJECTS_IN_PARALLEL = 4;
/** The safety net behind `wake` and NOTIFY. */
const POLL_MS = 1_000;
/** While another process works on the same project. */
const BUSY_MS = { first: 20, last: 500 };

/** Interprets the journal, one project's rows in order, several projects in parallel. */
export function createProcessor(options: ProcessingContext) {
  const { database, logger } = options;
  const inSlot = pLimit(PROJECTS_IN_PARALLEL);
  const running = new Map<string, { isWokenAgain: boolean; done: Promise<void> }>();
  const stopping = new AbortController();
  let polling: Promise<void> | null = null;

  function wake(project: ProjectKey): void {
    if (stopping.signal.aborted) return;
    const key = `${project.workspaceId}/${project.projectId}`;
    const current = running.get(key);
    if (current) {
      current.isWokenAgain = true;
      return;
    }
    const run = { isWokenAgain: false, done: Promise.resolve() };
    running.set(key, run);
    run.done = processAll(project, run)
      .catch((error: unknown) => {
        logger.warn(
          { err: error, unavailable: isDatabaseUnavailable(error), ...project },
          'could not process webhooks; trying again',
        );
      })
      .finally(() => running.delete(key));
  }

  async function processAll(project: ProjectKey, run: { isWokenAgain: boolean }): Promise<void> {
    do {
      run.isWokenAgain = false;
      await processProject(options, project, { inSlot, stopping: stopping.signal });
    } while (run.isWokenAgain && !stopping.signal.aborted);
  }

  async function poll(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        for (const project of await listUnprocessedProjects(database)) wake(project);
      } catch (error) {
        logger.warn(
          { err: error, unavailable: isDatabaseUnavailable(error) },
          'could not look for webhooks to process',
        );
      }
      await pause(POLL_MS, stopping.signal);
    }
  }

  return {
    start(): void {
      polling = poll();
    },
    /** Finishes the running batches. */
    async stop(): Promise<void> {
      stopping.abort();
      await polling;
      await Promise.all([...running.values()].map(({ done }) => done));
    },
    /** Processes what a project has received. */
    wake,
  };
}

/**
 * Processes everything that a project has received.
 *
 * @param turn.inSlot runs a batch when it is its turn: a project with a long backlog does not keep the others waiting
 * @param turn.stopping ends it after the running batch
 */
export async function processProject(
  context: ProcessingContext,
  project: ProjectKey,
  turn: { inSlot?: <T>(work: () => Promise<T>) => Promise<T>; stopping?: AbortSignal } = {},
): Promise<BatchCounts> {
  const { inSlot = (work) => work(), stopping = new AbortController().signal } = turn;
  const batches = createBatches(context, project);
  const counts = { processed: 0, failed: 0 };
  let busyMs = BUSY_MS.first;
  while (!stopping.aborted) {
    const batch = await inSlot(batches.next);
    if (batch === 'busy') {
      await pause(busyMs, stopping);
      busyMs = Math.min(busyMs * 2, BUSY_MS.last);
      continue;
    }
    busyMs = BUSY_MS.first;
    counts.processed += batch.processed;
    counts.failed += batch.failed;
    if (batch.processed > 0) context.onPending?.(project.workspaceId);
    if (batch.transferred.length > 0) await context.onTransfer?.(project, batch.transferred);
    if (!batch.hasMore) break;
  }
  return counts;
}

interface Batch extends BatchCounts {
  readonly hasMore: boolean;
  /** App user ids of the customers of transfers. */
  readonly transferred: readonly string[];
}

const NOTHING_PROCESSED = { processed: 0, failed: 0, transferred: [] };

/**
 * The batches of one project. When a row breaks its batch's transaction, smaller batches find it; alone in its
 * batch it is marked with its error, and the rows behind it continue.
 */
function createBatches(
  { database, secrets, logger }: ProcessingContext,
  project: ProjectKey,
): { next(): Promise<Batch | 'busy'> } {
  let limit = MAX_BATCH;
  return {
    async next() {
      let rows: readonly JournalRow[] = [];
      const run = (interpret: typeof interpretWebhooks): Promise<Batch | 'busy'> =>
        database.transaction(async (sql) => {
          // Sent together, and read after the lock was taken.
          const [isLocked, unprocessed, erasureKey] = await Promise.all([
            tryLockProject(sql, project),
            readUnprocessed(sql, project, limit),
            readErasureKey(sql, project),
            commitAsynchronously(sql),
          ]);
          if (!isLocked) return 'busy';
          rows = unprocessed;
          if (rows.length === 0) return { ...NOTHING_PROCESSED, hasMore: false };
          const { events, errors } = interpret(rows);
          const attributes = { ...project, eventIds: rows.map(({ eventId }) => eventId) };
          await Promise.all([
            withSpan('process webhooks', attributes, () =>
              storeInterpreted({ sql, secrets, erasureKey }, project, events),
            ),
            markProcessed(sql, project, rows, errors),
            markReceived(sql, project),
          ]);
          for (const [eventId, error] of errors)
            logger.error({ ...project, eventId, error }, 'a webhook could not be interpreted');
          return {
            processed: rows.length,
            failed: errors.size,
            hasMore: rows.length === limit,
            transferred: events.flatMap(({ customer, source }) =>
              source.length > 0 ? [...customer, ...source] : [],
            ),
          };
        });
      try {
        const batch = await retryAfterDeadlock(() => run(interpretWebhooks));
        limit = Math.min(limit * 2, MAX_BATCH);
        return batch;
      } catch (error) {
        if (!isCausedByData(error)) throw error;
        if (rows.length > 1) {
          limit = Math.ceil(rows.length / 2);
          return { ...NOTHING_PROCESSED, hasMore: true };
        }
        const [broken] = rows;
        // Without those that have arrived since. Another process may have taken the row.
        limit = 1;
        return run((again) =>
          broken !== undefined && again[0]?.eventId === broken.eventId
            ? { events: [], errors: new Map([[broken.eventId, describeFailure(error)]]) }
            : interpretWebhooks(again),
        );
      }
    },
  };
}

/**
 * A crash of PostgreSQL may lose the batch: then its rows are unprocessed again. Before an event is sent, the worker
 * commits its name and second synchronously, and everything that was committed before with them.
 */
function commitAsynchronously(sql: Sql): Promise<unknown> {
  return sql.query('set local synchronous_commit = off');
}

async function storeInterpreted(
  within: ErasedContext,
  project: ProjectKey,
  events: readonly PreparedEvent[],
): Promise<void> {
  const { remaining, erasedEvents } = await dropErased(within, project, events);
  await storeEventsIn(within.sql, project, remaining);
  await pruneErased(within.sql, project, erasedEvents);
}

/** What the interpreter made of stored webhooks. */
interface Interpretation {
  readonly events: readonly PreparedEvent[];
  /** By event id, of those that it could not handle. */
  readonly errors: ReadonlyMap<string, string>;
}

export function interpretWebhooks(webhooks: readonly Omit<JournalRow, 'sequence'>[]): Interpretation {
  const errors = new Map<string, string>();
  const events = webhooks.flatMap((webhook) => {
    try {
      const body: unknown = JSON.parse(webhook.payload);
      const event = isRecord(body) ? body.event : undefined;
      if (!isRecord(event)) throw new Error('The payload has no "event" object');
      return [prepareEvent(event, webhook.receivedAtMs, webhook.eventId)];
    } catch (error) {
      errors.set(webhook.eventId, describeFailure(error));
      return [];
    }
  });
  return { events, errors };
}

/** What is stored with a webhook that could not be interpreted: nothing of the customer. */
function describeFailure(error: unknown): string {
  return withoutValues(error instanceof Error ? error.message : String(error));
}

/** PostgreSQL's classes for data that a column or an index cannot hold (appendix A), or an error of our own code. */
function isCausedByData(error: unknown): boolean {
  if (isDatabaseUnavailable(error) || error instanceof AppError) return false;
  const code = codeOf(error);
  return code === undefined || /^(22|23|54)/.test(code);
}
