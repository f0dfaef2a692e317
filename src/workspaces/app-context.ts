import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { ReadDatabase } from '../database/replica.ts';
import type { Database } from '../database/sql.ts';
import {
  createIntercomClient,
  type IntercomClient,
  type IntercomClientOptions,
  intercomApiUrl,
} from '../intercom/client.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { type CallPriority, createCallLimiter } from '../revenuecat/call-limiter.ts';
import { createRevenueCatClient, type RevenueCatClient } from '../revenuecat/client.ts';
import type { AppCounters } from './metrics.ts';
import type { Project } from './projects.ts';
import type { Workspace } from './repository.ts';
import { createSecretBox, type SecretBox, secretLocation } from './secrets.ts';

/** Everything that routers, services and jobs need. A process has one. */
export interface AppContext extends PlatformClients {
  readonly config: Config;
  readonly database: Database;
  /** May be a replica, up to half a second behind: for reads only. */
  readonly readDatabase: ReadDatabase;
  readonly secrets: SecretBox;
  readonly jobs: Jobs;
  readonly logger: Logger;
  readonly counters: AppCounters;
  /** Epoch ms. */
  now(): number;
}

export interface PlatformClients {
  /** `null`: there is no token (uninstalled). */
  intercom(
    workspace: Pick<Workspace, 'workspaceId' | 'region' | 'accessToken'>,
    options?: Pick<IntercomClientOptions, 'gate' | 'timeoutMs'>,
  ): IntercomClient | null;
  /**
   * `null`: the project has no key (webhooks only).
   *
   * @param options.priority `interactive` by default; `unpaced` for the few calls that check or connect a project
   */
  revenueCat(
    project: Project,
    options?: { priority?: CallPriority | 'unpaced'; timeoutMs?: number; signal?: AbortSignal },
  ): RevenueCatClient | null;
}

export function createAppContext(
  parts: Pick<AppContext, 'config' | 'database' | 'readDatabase' | 'jobs' | 'logger' | 'counters'>,
  encryptionKeys: readonly Buffer[],
): AppContext {
  const common = { ...parts, secrets: createSecretBox(encryptionKeys), now: Date.now };
  return { ...common, ...createPlatformClients(common) };
}

/** The database, and the clock that decides what in it has ended. */
export type DatabaseAndClock = Pick<AppContext, 'database' | 'now'>;

export function createPlatformClients(
  options: Pick<AppContext, 'database' | 'secrets' | 'now'> & {
    readonly config: Pick<Config, 'revenueCatApiUrl'> & {
      readonly intercom: Pick<Config['intercom'], 'apiUrl'>;
    };
  },
): PlatformClients {
  const { config, database, secrets, now } = options;
  const limiter = createCallLimiter({ database, now });
  return {
    intercom({ workspaceId, region, accessToken }, calls = {}) {
      if (accessToken === null) return null;
      return createIntercomClient({
        apiUrl: intercomApiUrl(config.intercom.apiUrl, region),
        accessToken: secrets.decrypt(accessToken, secretLocation.accessToken(workspaceId)),
        now,
        ...calls,
      });
    },
    revenueCat(project, { priority = 'interactive', timeoutMs, signal } = {}) {
      const { workspaceId, projectId, apiKey } = project;
      if (apiKey === null) return null;
      return createRevenueCatClient({
        apiUrl: config.revenueCatApiUrl,
        apiKey: secrets.decrypt(apiKey, secretLocation.apiKey(workspaceId, projectId)),
        now,
        gate: priority === 'unpaced' ? undefined : limiter.gate(project, priority, signal),
        timeoutMs,
      });
    },
  };
}
