import type { Sql } from '../database/sql.ts';
import { ENCRYPTED_COLUMNS } from '../database/tables.ts';
import { createSecretBox, secretLocation } from '../workspaces/secrets.ts';
import { type Outcome, ok, problem } from './check.ts';

type SecretKind = keyof typeof secretLocation;

const SECRET_NAMES: Readonly<Record<SecretKind, string>> = {
  accessToken: "Intercom's access token",
  messengerSecret: 'the Messenger secret',
  apiKey: "RevenueCat's API key",
  signingSecret: "the webhook's signing secret",
  erasureKey: 'the key of the list of erased customers',
};

/** Whether the keys decrypt everything that is stored. @param keys empty: there are none */
export async function checkSecrets(
  sql: Sql,
  workspaceIds: readonly string[],
  keys: readonly Buffer[],
): Promise<Outcome> {
  const secrets = (await Promise.all(workspaceIds.map((id) => listSecrets(sql, id)))).flat();
  if (secrets.length === 0) return ok('No secret is stored yet.');
  const box = keys.length === 0 ? null : createSecretBox(keys);
  const unreadable = secrets.filter(({ kind, workspaceId, id, encrypted }) => {
    try {
      return box === null || box.decrypt(encrypted, secretLocation[kind](workspaceId, id)) === '';
    } catch {
      return true;
    }
  });
  const [first] = unreadable;
  return first
    ? problem(
        `The encryption keys do not decrypt ${unreadable.length} of ${secrets.length} stored secrets, among them ${SECRET_NAMES[first.kind]} of workspace ${first.workspaceId}.`,
      )
    : ok(`The encryption keys decrypt all ${secrets.length} stored secrets.`);
}

interface StoredSecret {
  readonly workspaceId: string;
  readonly kind: SecretKind;
  readonly id: string;
  readonly encrypted: string;
}

async function listSecrets(sql: Sql, workspaceId: string): Promise<StoredSecret[]> {
  const secrets: StoredSecret[] = [];
  for (const { table, column, kind, idColumn } of ENCRYPTED_COLUMNS) {
    const rows = await sql.query<{ id: string; encrypted: string }>(
      `select ${idColumn} as id, ${column} as encrypted from ${table}
        where workspace_id = $1 and ${column} is not null`,
      [workspaceId],
    );
    secrets.push(...rows.map(({ id, encrypted }) => ({ workspaceId, kind, id, encrypted })));
  }
  return secrets;
}
