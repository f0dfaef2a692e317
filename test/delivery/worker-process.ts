import { pino } from 'pino';
import { openDatabase } from '../../src/database/data-source.ts';
import { DeliveryWorker } from '../../src/delivery/worker.ts';
import { createProcessor } from '../../src/ingestion/processor.ts';
import { createPlatformClients } from '../../src/workspaces/app-context.ts';
import { createSecretBox } from '../../src/workspaces/secrets.ts';

/** The worker side in its own process, with a low concurrency and a call timeout that a test can wait for. */
const {
  DATABASE_URL = '',
  INTERCOM_API_URL = '',
  ENCRYPTION_KEYS = '',
  CALL_TIMEOUT_MS,
  CONCURRENCY,
} = process.env;
const logger = pino({ level: 'info' });
const { database } = await openDatabase({ url: DATABASE_URL, logger });
const secrets = createSecretBox([Buffer.from(ENCRYPTION_KEYS, 'base64')]);
const worker = new DeliveryWorker({
  database,
  sessionUrl: DATABASE_URL,
  logger,
  jobs: { send: async () => {} },
  ...createPlatformClients({
    database,
    secrets,
    now: Date.now,
    config: { intercom: { apiUrl: INTERCOM_API_URL }, revenueCatApiUrl: '' },
  }),
  callTimeoutMs: Number(CALL_TIMEOUT_MS),
  concurrency: Number(CONCURRENCY),
});
const onPending = (workspaceId: string): void => worker.wake(workspaceId);
createProcessor({ database, secrets, logger, onPending }).start();
worker.start();
logger.info({ port: 0 }, 'listening');
