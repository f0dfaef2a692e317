import { randomBytes, randomUUID } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import { insertApiKey, newApiKey, setMessengerSecret } from '../messenger/api-keys.ts';
import { type SecretBox, secretLocation } from '../workspaces/secrets.ts';

/**
 * What an admin does on the settings page: stores the Messenger secret and makes a key.
 *
 * @returns the key, for the customer's backend
 */
export async function connectMessenger(
  deps: { database: Sql; secrets: SecretBox },
  workspaceId: string,
): Promise<string> {
  const secret = randomBytes(32).toString('hex');
  await setMessengerSecret(
    deps.database,
    workspaceId,
    deps.secrets.encrypt(secret, secretLocation.messengerSecret(workspaceId)),
  );
  const { key, hash, prefix } = newApiKey('messenger', workspaceId);
  await insertApiKey(deps.database, {
    workspaceId,
    keyId: randomUUID(),
    hash,
    kind: 'messenger',
    name: 'Sample backend',
    prefix,
    createdBy: { id: '1001', name: 'Alex Agent', email: 'alex@example.com' },
  });
  return key;
}
