import type { Config } from '../../src/config.ts';
import { withoutReplica } from '../../src/database/replica.ts';
import type { Database } from '../../src/database/sql.ts';
import { type AppContext, createPlatformClients } from '../../src/workspaces/app-context.ts';
import { createSecretBox } from '../../src/workspaces/secrets.ts';
import { CLIENT_ID, CLIENT_SECRET, secrets, silent } from './world.ts';

const CONFIG: Config = {
  production: false,
  port: 0,
  host: null,
  trustedProxies: [],
  publicUrl: 'http://app.test',
  picturesUrl: 'http://app.test',
  databaseUrl: null,
  databaseReadUrl: null,
  databaseDirectUrl: null,
  databasePoolSize: 10,
  databaseBackend: 'postgres',
  dataDir: '.data',
  intercom: {
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    apiUrl: 'http://intercom.test',
    appUrl: 'http://intercom.test',
  },
  revenueCatApiUrl: 'http://revenuecat.test',
  encryptionKeys: [],
  role: 'web',
  logLevel: 'silent',
  metricsToken: null,
  payloadRetentionDays: 180,
  drainSeconds: 0,
};

/** The context of a process whose jobs are dropped, unless `jobs` says otherwise. */
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
    logger: silent,
    // A test may replace `Date.now`.
    now: () => Date.now(),
    ...given,
    config: { ...CONFIG, ...given.config, intercom: { ...CONFIG.intercom, ...given.config?.intercom } },
  };
  return { ...createPlatformClients(common), ...common };
}
