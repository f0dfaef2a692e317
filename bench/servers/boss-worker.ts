import { PgBoss } from 'pg-boss';
import { createHttpClient } from '../../src/http/client.ts';
import { CONTACT_ATTRIBUTES } from '../../src/subscription/contact-values.ts';

/**
 * The obvious way to deliver: one job per event, which finds the contact, sends the event and writes the attributes. It
 * keeps no order within a customer. Runs as many jobs in parallel as the app delivers customers, and fetches full
 * batches without a pause, which is pg-boss's fastest setting.
 */
const { DATABASE_URL = '', INTERCOM_URL = '', TOKEN = '' } = process.env;
const CONCURRENCY = 256;
const BATCH = 4;

interface Job {
  readonly eventId: string;
  readonly externalId: string;
  readonly atS: number;
}

/** The app's own HTTP client, because only the queues are compared. */
const http = createHttpClient({
  baseURL: INTERCOM_URL,
  headers: { authorization: `Bearer ${TOKEN}`, 'intercom-version': '2.16' },
});

async function call(method: string, url: string, data?: unknown): Promise<unknown> {
  const response = await http.request({ method, url, data });
  if (response.status >= 300) throw new Error(`answered ${response.status}`);
  return response.data;
}

const contacts = new Map<string, string>();
const attributes = Object.fromEntries(
  CONTACT_ATTRIBUTES.map(({ name, dataType }) => [
    name,
    dataType === 'string' ? 'value' : dataType === 'boolean' ? true : 1_700_000_000,
  ]),
);

async function deliver(job: Job): Promise<void> {
  let id = contacts.get(job.externalId);
  if (id === undefined) {
    const found = await call('GET', `/contacts/find_by_external_id/${job.externalId}`);
    ({ id } = found as { id: string });
    contacts.set(job.externalId, id);
  }
  await call('POST', '/events', {
    event_name: 'rc_renewal_event',
    created_at: job.atS,
    id,
    metadata: { event_id: job.eventId, product_identifier: 'pro_monthly', store: 'APP_STORE' },
  });
  await call('PUT', `/contacts/${id}`, { custom_attributes: attributes });
}

const boss = new PgBoss({
  connectionString: DATABASE_URL,
  schema: 'naive_boss',
  max: 20,
  useListenNotify: true,
});
boss.on('error', () => {});
await boss.start();
await boss.work<Job>(
  'events',
  {
    batchSize: BATCH,
    localConcurrency: CONCURRENCY / BATCH,
    burstWhenBatchFull: true,
    pollingIntervalSeconds: 0.5,
    perJobResults: true,
  },
  (jobs) =>
    Promise.all(
      jobs.map((job) =>
        deliver(job.data).then(
          () => ({ id: job.id, status: 'completed' as const }),
          () => ({ id: job.id, status: 'failed' as const }),
        ),
      ),
    ),
);
process.stdout.write(`${JSON.stringify({ msg: 'listening', port: 0 })}\n`);
process.on('SIGTERM', () => process.exit(0));
