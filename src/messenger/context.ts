import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { type SecretBox, secretLocation } from '../workspaces/secrets.ts';
import type { MessengerWorkspace } from './api-keys.ts';

export interface MessengerContext {
  readonly database: Database;
  /** May be a replica: for reads only. */
  readonly readDatabase: Database;
  readonly secrets: SecretBox;
  readonly logger: Logger;
  /** Without a slash at its end. */
  readonly publicUrl: string;
  /** Whether cookies are for HTTPS only. */
  readonly production: boolean;
  /** Epoch ms. */
  now(): number;
  /** Queues a refresh from RevenueCat, in the background. */
  requestRefresh(workspaceId: string, subscriberId: string): Promise<void>;
}

/** The workspace's Messenger secret. Throws AppError 409 when no admin has pasted it. */
export function messengerSecretOf(
  context: Pick<MessengerContext, 'secrets'>,
  { workspaceId, messengerSecret }: MessengerWorkspace,
): string {
  if (messengerSecret === null) {
    throw new AppError(
      'messenger_secret_missing',
      'This workspace has no Messenger secret. Copy it in Intercom from Settings → Channels → Messenger → Security and paste it under Settings → Messenger.',
      { status: 409 },
    );
  }
  return context.secrets.decrypt(messengerSecret, secretLocation.messengerSecret(workspaceId));
}
