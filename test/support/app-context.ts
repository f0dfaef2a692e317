import { Registry } from 'prom-client';
import { type Config, readConfig } from '../../src/config.ts';
import { withoutReplica } from '../../src/database/replica.ts';
import type { Database } from '../../src/database/sql.ts';
import { type AppContext, createPlatformClients } from '../../src/workspaces/app-context.ts';
import { createAppCounters } from '../../src/workspaces/metrics.ts';
import { createSecretBox } from '../../src/workspaces/secrets.ts';
import { CLIENT_ID, CLIENT_SECRET, logger, secrets } from './world.ts';

const read = readConfig({
  PUBLIC_URL: 'http://app.test',
  DATABASE_POOL_SIZE: '10',
  INTERCOM_CLIENT_ID: CLIENT_ID,
  INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
  INTERCOM_API_URL: 'http://intercom.test',
  INTERCOM_APP_URL: 'http://intercom.test',
  REVENUECAT_API_URL: 'http://revenuecat.test',
  ROLE: 'web',
  LOG_LEVEL: 'silent',
});
if (!read.ok) throw new Error(JSON.stringify(read.problems));
const CONFIG = read.config;

/** The app context of a process that drops its jobs, unless `given.jobs` is passed. */
export function createTestContext(
  database: Database,
  given: Partial<Omit<AppContext, 'config'>> & {
    readonly config?: Partial<Omit<Config, 'intercom'>> & { readonly intercom?: Partial<Config['intercom']> };
  } = {},
): AppContext {
  const keys = given.config?.encryptionKeys;
  const common = {
    database,
    readDatabase: withoutReplica(database),
    secrets: keys ? createSecretBox(keys) : secrets,
    jobs: { send: async () => {} },
    logger,
    counters: createAppCounters(new Registry()),
    // Looks `Date.now` up at each call, because a test may replace it.
    now: () => Date.now(),
    ...given,
    config: { ...CONFIG, ...given.config, intercom: { ...CONFIG.intercom, ...given.config?.intercom } },
  };
  return { ...createPlatformClients(common), ...common };
}
