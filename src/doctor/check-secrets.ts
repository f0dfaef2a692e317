import type { Sql } from '../database/sql.ts';
import { createSecretBox, ENCRYPTED_COLUMNS, secretLocation } from '../workspaces/secrets.ts';
import { type Finding, ok, problem } from './check-result.ts';

type Kind = keyof typeof secretLocation;

interface SealedRow {
  readonly workspaceId: string;
  readonly kind: Kind;
  readonly id: string;
  readonly sealed: string;
}

const NAMES: Readonly<Record<Kind, string>> = {
  accessToken: "Intercom's access token",
  messengerSecret: 'the Messenger secret',
  apiKey: "RevenueCat's API key",
  signingSecret: "the webhook's signing secret",
};

/** Whether the keys at hand open what is stored. @param keys empty: there are none */
export async function checkSecrets(
  sql: Sql,
  workspaceIds: readonly string[],
  keys: readonly Buffer[],
): Promise<Finding[]> {
  const rows = (await Promise.all(workspaceIds.map((id) => sealedOf(sql, id)))).flat();
  if (rows.length === 0) return [ok('encryption_key', 'No secret is stored yet.')];
  const box = keys.length === 0 ? null : createSecretBox(keys);
  const unreadable = rows.filter((row) => {
    try {
      return (
        box === null || box.decrypt(row.sealed, secretLocation[row.kind](row.workspaceId, row.id)) === ''
      );
    } catch {
      return true;
    }
  });
  const [first] = unreadable;
  if (!first) return [ok('encryption_key', `The encryption keys open all ${rows.length} stored secrets.`)];
  return [
    problem(
      'encryption_key',
      `${unreadable.length} of ${rows.length} stored secrets do not open with the encryption keys, among them ${NAMES[first.kind]} of workspace ${first.workspaceId}.`,
      'Add the key that sealed them to ENCRYPTION_KEYS (the newest first, older ones after a comma). If it is lost: reinstall the app in the workspace and paste the API key again in its settings.',
    ),
  ];
}

async function sealedOf(sql: Sql, workspaceId: string): Promise<SealedRow[]> {
  const rows: SealedRow[] = [];
  for (const kind of Object.keys(ENCRYPTED_COLUMNS) as Kind[]) {
    const { table, column, idColumn } = ENCRYPTED_COLUMNS[kind];
    const found = await sql.query<{ id: string; sealed: string }>(
      `select ${idColumn} as id, ${column} as sealed from ${table}
        where workspace_id = $1 and ${column} is not null`,
      [workspaceId],
    );
    rows.push(...found.map(({ id, sealed }) => ({ workspaceId, kind, id, sealed })));
  }
  return rows;
}
