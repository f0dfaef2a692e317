import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { SecretBox } from '../workspaces/secrets.ts';

/** What the Messenger's parts share. */
export interface MessengerContext {
  readonly database: Database;
  /** May be a replica: for what only reads. */
  readonly readDatabase: Database;
  readonly secrets: SecretBox;
  readonly logger: Logger;
  /** Without a slash at its end. */
  readonly publicUrl: string;
  /** Whether cookies are for HTTPS alone. */
  readonly production: boolean;
  /** Keys the support links and their sessions; known to this server alone. */
  readonly linkKey: string;
  /** Epoch ms. */
  now(): number;
  /** Asks for a fresh look at RevenueCat, in the background. */
  requestRefresh(workspaceId: string, subscriberId: string): Promise<void>;
}
