import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { Project } from '../workspaces/projects.ts';

export interface GrantContext {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly logger: Logger;
  /**
   * The project's client; `null`: the project has no key.
   *
   * @param timeoutMs of each call; by default what somebody at a card can wait for
   */
  revenueCat(project: Project, timeoutMs?: number): RevenueCatClient | null;
  now(): number;
}
