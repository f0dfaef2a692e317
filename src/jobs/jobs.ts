import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type JobResult, type JobWithMetadata, PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { prepareConnection, type Sql, STATEMENT_TIMEOUT_MS } from '../database/sql.ts';
import { AppError, answerOrError } from '../errors.ts';
import { createOutageLog, describeError } from '../logger.ts';
import { withSpan } from '../tracing.ts';

/**
 * Data of each background job by name. A folder adds its own jobs in its `jobs.ts`:
 * `declare module '../jobs/jobs.ts' { interface JobData { … } }`. The data is stored unencrypted: ids, never a secret.
 */
// biome-ignore lint/suspicious/noEmptyInterface: folders add the members
export interface JobData {}

export type JobName = keyof JobData;

/** Waits for a job's work. @returns after how many seconds to queue it again; `null`: no platform asked to wait */
export async function secondsToWait(work: Promise<unknown>, now: () => number): Promise<number | null> {
  const answer = await answerOrError(work);
  if (!(answer instanceof AppError)) return null;
  if (answer.remedy.kind !== 'wait_until') throw answer;
  return Math.max(1, Math.ceil((answer.remedy.atMs - now()) / 1_000));
}

/** The sending side, which is all that most of the app needs. */
export interface Jobs {
  /**
   * Queues a job. Two jobs with the same key that have not started count as one. In a transaction the key is unique
   * unless one is given: an equal job that waits may start before the commit, see nothing to do, and end.
   *
   * @param options.afterSeconds earliest start
   * @param options.onceInSeconds a second job with the same key within this time is not queued
   * @param options.atMostEverySeconds a second job with the same key within this time starts after it
   * @param options.sql queues the job in this transaction, so that a killed process loses neither
   */
  send<Name extends JobName>(
    name: Name,
    data: JobData[Name],
    options?: {
      key?: string;
      afterSeconds?: number;
      onceInSeconds?: number;
      atMostEverySeconds?: number;
      sql?: Sql;
    },
  ): Promise<void>;
}

/**
 * How a process works on a queue. NOTIFY announces jobs that are due, so polling is only for jobs that become due by
 * time (retries, a later start): the workers of a queue take turns. A worker polls again immediately only after a full
 * batch, which pg-boss ignores for a batch size of one.
 */
const WORKERS = {
  /** Scheduled work that nothing waits for. */
  background: { concurrency: 1, batchSize: 2, pollSeconds: 10 },
  /** A person or a platform waits for the result. */
  interactive: { concurrency: 2, batchSize: 2, pollSeconds: 2 },
  /** Each may wait for a platform that hangs, and must not keep the others waiting. */
  waiting: { concurrency: 8, batchSize: 2, pollSeconds: 2 },
  /** Thousands at a time: imports and bursts of events. */
  bulk: { concurrency: 2, batchSize: 4, pollSeconds: 5 },
} as const;

interface JobDefinition<Data> {
  readonly workers: keyof typeof WORKERS;
  /** @param attempt `isRetry`: an earlier attempt failed or its process was killed, so some of the work may be done */
  run(data: Data, attempt?: { readonly isRetry: boolean }): Promise<unknown>;
  /** Cron expression in UTC; a scheduled job takes no data. */
  readonly cron?: string;
  /** A job that takes longer is given up and retried. */
  readonly expireInSeconds?: number;
  readonly retryLimit?: number;
  /** Retries back off from 2 s to this many seconds. */
  readonly retryDelayMax?: number;
}

export type JobDefinitions = { readonly [Name in JobName]?: JobDefinition<JobData[Name]> };

const QUEUE_DEFAULTS = {
  /** After this long without a heartbeat, the job of a killed process is run by another. */
  heartbeatSeconds: 20,
  expireInSeconds: 120,
  retryLimit: 10,
  retryDelay: 2,
  retryBackoff: true,
  retryDelayMax: 600,
  /** Jobs that ended only serve the metrics, and erasing a customer reads them all: pg-boss' week keeps too many. */
  deleteAfterSeconds: 86_400,
};

export type JobQueue = Awaited<ReturnType<typeof openJobs>>;

/** pg-boss passes these options to the driver's pool, but does not document them. */
const POOL_OPTIONS = {
  keepAlive: true,
  query_timeout: STATEMENT_TIMEOUT_MS,
  onConnect: prepareConnection,
};

type AnyDefinition = JobDefinition<Record<string, unknown>>;

/** Opens pg-boss in a schema of its own. Safe when several processes start together: its migrations take a lock. */
export async function openJobs(options: {
  databaseUrl: string;
  backend: Config['databaseBackend'];
  /** Whether a connection can LISTEN; behind a connection pooler it cannot. */
  listen: boolean;
  /** For a command that leaves its jobs to the servers. */
  queueOnly?: boolean;
  logger: Logger;
}) {
  const { logger, queueOnly = false } = options;
  const boss = new PgBoss({
    connectionString: options.databaseUrl,
    schema: 'pgboss',
    application_name: 'subscription-timeline-jobs',
    max: 5,
    ...POOL_OPTIONS,
    useListenNotify: options.listen,
    supervise: !queueOnly,
    schedule: !queueOnly,
    backend: options.backend,
  });
  // Without a listener, losing the database would end the process. pg-boss itself continues when the database is back.
  boss.on(
    'error',
    createOutageLog((about) => logger.warn(about, 'job queue')),
  );
  await boss.start();
  const registered = new Map<string, AnyDefinition>();
  const polls: NodeJS.Timeout[] = [];

  const send: Jobs['send'] = async (name, data, extra = {}) => {
    const { key, afterSeconds, onceInSeconds, atMostEverySeconds, sql } = extra;
    await boss.send(name, data, {
      singletonKey: key ?? (sql ? randomUUID() : Object.values(data).join('|')),
      startAfter: afterSeconds,
      singletonSeconds: onceInSeconds ?? atMostEverySeconds,
      singletonNextSlot: atMostEverySeconds !== undefined,
      ...(sql && { db: { executeSql: async (text, values) => ({ rows: await sql.query(text, values) }) } }),
    });
  };

  return {
    send,
    /** Creates the queues of these jobs. Jobs can be sent from then on; `work` starts to run them. */
    async register(definitions: JobDefinitions): Promise<void> {
      const added = Object.entries(definitions) as [string, AnyDefinition][];
      const existing = new Map(
        (await boss.getQueues(added.map(([name]) => name))).map((each) => [each.name, each]),
      );
      for (const [name, definition] of added) {
        registered.set(name, definition);
        const { workers: _workers, run: _run, cron: _cron, ...options } = definition;
        const settings = { ...QUEUE_DEFAULTS, ...options, notify: true };
        const queue = existing.get(name);
        if (!queue) await boss.createQueue(name, { ...settings, policy: 'short' });
        // Another version of the app created the queue with other settings.
        else if (!isDeepStrictEqual({ ...queue, ...settings }, { ...queue }))
          await boss.updateQueue(name, settings);
      }
    },
    /** Runs the registered jobs; without it this process only queues them. */
    async work(): Promise<void> {
      for (const [name, definition] of registered) {
        polls.push(await startWorkers(boss, logger, { name, definition }));
        // A machine that is off at night runs the job when it starts.
        const options = { tz: 'UTC', missed: 'once' } as const;
        if (definition.cron !== undefined) await boss.schedule(name, definition.cron, {}, options);
      }
    },
    /** Claims no more jobs; they can still be queued. */
    async pause(): Promise<void> {
      await Promise.all([...registered.keys()].map((name) => boss.offWork(name, { wait: false })));
    },
    /** Finishes the claimed jobs. */
    async stop(): Promise<void> {
      for (const poll of polls) clearInterval(poll);
      await boss.stop({ graceful: true, timeout: 20_000 });
    },
  };
}

/**
 * Deletes the jobs of erased customers, including jobs that already ran: pg-boss keeps them for a while, with their
 * data and keys. The lock waits for a failed job that is being queued again as a new row.
 *
 * @param sql a transaction that does nothing else after this: no job can be queued or finished until it ends
 */
export async function deleteCustomerJobs(
  sql: Sql,
  workspaceId: string,
  customers: {
    /** Ids that jobs look up; ids that differ in case are different customers. */
    readonly appUserIds: readonly string[];
    /** In lower case: a teammate may have searched for them in any case. */
    readonly emails: readonly string[];
    readonly subscriberIds: readonly string[];
  },
): Promise<void> {
  // pg-boss's tables do not exist until a server has started.
  const [queue] = await sql.query(`select 1 where to_regclass('pgboss.job') is not null`);
  if (!queue) return;
  await sql.query(`lock table pgboss.job in share row exclusive mode`);
  await sql.query(
    `delete from pgboss.job
      where data->>'workspaceId' = $1 and (data->>'appUserId' = any($2) or lower(data->>'appUserId') = any($4)
             or data->>'subscriberId' = any($3))`,
    [workspaceId, customers.appUserIds, customers.subscriberIds, customers.emails],
  );
}

async function startWorkers(
  boss: PgBoss,
  logger: Logger,
  { name, definition }: { name: string; definition: AnyDefinition },
): Promise<NodeJS.Timeout> {
  async function run(job: JobWithMetadata<Record<string, unknown>>): Promise<JobResult> {
    try {
      await withSpan(`job ${name}`, {}, () => definition.run(job.data, { isRetry: job.retryCount > 0 }));
      return { id: job.id, status: 'completed' };
    } catch (error) {
      const { workspaceId } = job.data;
      logger.warn({ err: error, job: name, jobId: job.id, workspaceId }, 'job failed; it will be retried');
      // The log has the error; the queue's tables must not store personal data or secrets from it.
      return { id: job.id, status: 'failed', output: { type: describeError(error).type } };
    }
  }
  const { concurrency, batchSize, pollSeconds } = WORKERS[definition.workers];
  const start = () =>
    boss.work(
      name,
      {
        batchSize,
        burstWhenBatchFull: true,
        perJobResults: true,
        includeMetadata: true,
        pollingIntervalSeconds: 2,
        notifyPollingIntervalSeconds: 600,
      },
      (jobs: JobWithMetadata<Record<string, unknown>>[]) => Promise.all(jobs.map(run)),
    );
  const workers = await Promise.all(Array.from({ length: concurrency }, start));
  // pg-boss would let each of them poll: on an idle server, more than half of all statements.
  let next = 0;
  return setInterval(() => boss.notifyWorker(workers[next++ % concurrency] ?? ''), pollSeconds * 1_000);
}
