import { type Job, type JobResult, PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { describeError } from '../logger.ts';

/** Every background job but delivery, with what it needs to know. Nothing secret: the tables keep it in clear. */
export interface JobData {
  'subscriber.refresh': { workspaceId: string; subscriberId: string };
  'customer.import': { workspaceId: string; projectId: string; appUserId: string };
  'backfill.run': { workspaceId: string; projectId: string; importId: string };
  'reconcile.nightly': Record<string, never>;
  'reconcile.workspace': { workspaceId: string };
  'grant.settle': { workspaceId: string; grantId: string };
  'grant.note': { workspaceId: string; grantId: string };
  'workspace.provision': { workspaceId: string };
  'workspace.confirm-uninstall': { workspaceId: string };
  'workspace.health': { workspaceId: string };
  'workspace.check': { workspaceId: string };
  'maintenance.daily': Record<string, never>;
}

export type JobName = keyof JobData;

export interface Jobs {
  /**
   * Queues a job. Two with the same key that have not begun are one.
   *
   * @param options.afterSeconds earliest start
   * @param options.onceInSeconds a second one with the same key within this time is not queued
   */
  send<Name extends JobName>(
    name: Name,
    data: JobData[Name],
    options?: { key?: string; afterSeconds?: number; onceInSeconds?: number },
  ): Promise<void>;
}

export type JobHandlers = { readonly [Name in JobName]: (data: JobData[Name]) => Promise<void> };

interface QueueSettings {
  /** A job of a killed process is given to another after this long without a sign of life. */
  readonly heartbeatSeconds: number;
  readonly expireInSeconds: number;
  readonly retryLimit: number;
  readonly retryDelay: number;
  readonly retryBackoff: boolean;
  readonly retryDelayMax: number;
}

/**
 * How a process works on a queue. A job that is due is announced, so looking for work is only for those that
 * become due by time (retries, a later start); each hand looks by itself, so idle queues get few. A hand takes up to
 * `batch` jobs at once, and looks again at once only after a full batch: so none may be as small as one.
 */
interface Work {
  readonly hands: number;
  readonly batch: number;
  readonly lookEverySeconds: number;
}

const LOW_PRIORITY: Work = { hands: 1, batch: 2, lookEverySeconds: 10 };
const PROMPT: Work = { hands: 2, batch: 2, lookEverySeconds: 2 };
const HIGH_VOLUME: Work = { hands: 2, batch: 4, lookEverySeconds: 5 };

const WORK: Readonly<Record<JobName, Work>> = {
  'subscriber.refresh': HIGH_VOLUME,
  'customer.import': HIGH_VOLUME,
  'backfill.run': PROMPT,
  'reconcile.nightly': LOW_PRIORITY,
  'reconcile.workspace': LOW_PRIORITY,
  'grant.settle': PROMPT,
  'grant.note': PROMPT,
  'workspace.provision': PROMPT,
  'workspace.confirm-uninstall': PROMPT,
  'workspace.health': PROMPT,
  'workspace.check': LOW_PRIORITY,
  'maintenance.daily': LOW_PRIORITY,
};

const DEFAULT_QUEUE: QueueSettings = {
  heartbeatSeconds: 20,
  expireInSeconds: 120,
  retryLimit: 10,
  retryDelay: 2,
  retryBackoff: true,
  retryDelayMax: 600,
};

const QUEUES: Readonly<Record<JobName, QueueSettings>> = {
  'subscriber.refresh': { ...DEFAULT_QUEUE, retryLimit: 5 },
  'customer.import': { ...DEFAULT_QUEUE, retryLimit: 5 },
  // A slice of an import; it queues the next one itself. While RevenueCat is away the import waits, not the job.
  'backfill.run': { ...DEFAULT_QUEUE, expireInSeconds: 600, retryLimit: 1_000, retryDelayMax: 60 },
  'reconcile.nightly': DEFAULT_QUEUE,
  'reconcile.workspace': { ...DEFAULT_QUEUE, expireInSeconds: 600 },
  'grant.settle': { ...DEFAULT_QUEUE, retryLimit: 30 },
  'grant.note': { ...DEFAULT_QUEUE, retryLimit: 20 },
  'workspace.provision': DEFAULT_QUEUE,
  'workspace.confirm-uninstall': { ...DEFAULT_QUEUE, retryLimit: 40 },
  'workspace.health': { ...DEFAULT_QUEUE, retryLimit: 8 },
  'workspace.check': { ...DEFAULT_QUEUE, retryLimit: 3 },
  'maintenance.daily': { ...DEFAULT_QUEUE, expireInSeconds: 3_600, retryLimit: 2 },
};

const QUEUE_NAMES = Object.keys(QUEUES) as JobName[];

export interface JobRunner extends Jobs {
  /** Begins to work on jobs; without it this process only queues them. */
  work(handlers: JobHandlers): Promise<void>;
  /** Takes no more jobs; they can still be queued. */
  rest(): Promise<void>;
  /** Finishes the jobs in hand. */
  stop(): Promise<void>;
}

function workspaceOf(data: JobData[JobName]): { workspaceId?: string } {
  return 'workspaceId' in data && typeof data.workspaceId === 'string'
    ? { workspaceId: data.workspaceId }
    : {};
}

async function makeQueues(boss: PgBoss): Promise<void> {
  const existing = new Map((await boss.getQueues([...QUEUE_NAMES])).map((queue) => [queue.name, queue]));
  for (const name of QUEUE_NAMES) {
    const queue = existing.get(name);
    if (!queue) await boss.createQueue(name, { ...QUEUES[name], policy: 'short', notify: true });
    else if (!queue.notify) await boss.updateQueue(name, { notify: true });
  }
}

/** Opens pg-boss in its own schema. Safe when several processes start at once: it locks its migrations itself. */
export async function openJobs(options: {
  databaseUrl: string;
  backend: Config['databaseBackend'];
  /** Whether a connection may listen; behind a connection pooler it may not. */
  listen: boolean;
  /** For a command that leaves its jobs to the servers. */
  queueOnly?: boolean;
  logger: Logger;
}): Promise<JobRunner> {
  const boss = new PgBoss({
    connectionString: options.databaseUrl,
    schema: 'pgboss',
    application_name: 'subscription-timeline-jobs',
    max: 5,
    useListenNotify: options.listen,
    ...(options.queueOnly ? { supervise: false, schedule: false } : {}),
    ...(options.backend === 'postgres' ? {} : { backend: options.backend }),
  });
  // Without a listener a lost database would end the process; pg-boss itself goes on when it is back.
  boss.on('error', (error: Error) => options.logger.warn({ err: error }, 'job queue'));
  await boss.start();
  await makeQueues(boss);

  let working = false;
  async function handle<Name extends JobName>(name: Name, run: JobHandlers[Name]): Promise<void> {
    const work = async (job: Job<JobData[Name]>): Promise<JobResult> => {
      try {
        await run(job.data);
        return { id: job.id, status: 'completed' };
      } catch (error) {
        options.logger.warn(
          { err: error, job: name, jobId: job.id, ...workspaceOf(job.data) },
          'job failed; it is tried again',
        );
        // The log has the error; the queue's tables must hold nothing of it that is personal or secret.
        return { id: job.id, status: 'failed', output: { type: describeError(error).type } };
      }
    };
    const { hands, batch, lookEverySeconds } = WORK[name];
    await boss.work<JobData[Name]>(
      name,
      {
        localConcurrency: hands,
        batchSize: batch,
        burstWhenBatchFull: true,
        perJobResults: true,
        pollingIntervalSeconds: 2,
        notifyPollingIntervalSeconds: lookEverySeconds,
      },
      (jobs) => Promise.all(jobs.map(work)),
    );
  }

  return {
    async send(name, data, extra = {}) {
      await boss.send(name, data, {
        singletonKey: extra.key ?? Object.values(data).join('|'),
        ...(extra.afterSeconds === undefined ? {} : { startAfter: extra.afterSeconds }),
        ...(extra.onceInSeconds === undefined ? {} : { singletonSeconds: extra.onceInSeconds }),
      });
    },
    async work(handlers) {
      working = true;
      for (const name of QUEUE_NAMES)
        await handle(name, handlers[name] as (data: JobData[JobName]) => Promise<void>);
      await boss.schedule('maintenance.daily', '17 3 * * *', {}, { tz: 'UTC' });
      await boss.schedule('reconcile.nightly', '37 1 * * *', {}, { tz: 'UTC' });
    },
    async rest() {
      if (!working) return;
      await Promise.all(QUEUE_NAMES.map((name) => boss.offWork(name, { wait: false })));
    },
    stop: () => boss.stop({ graceful: true, timeout: 20_000 }),
  };
}
