import type { Database } from '../database/sql.ts';
import type { SecretBox } from './secrets.ts';
import { sealedAs } from './store.ts';

interface SealedColumn {
  readonly table: 'workspaces' | 'projects';
  readonly column: string;
  /** Whose row it is: the second part of the key, where the table has one. */
  readonly idColumn: 'workspace_id' | 'project_id';
  place(workspaceId: string, id: string): string;
}

/** Every column that holds something sealed. */
const SEALED_COLUMNS: readonly SealedColumn[] = [
  {
    table: 'workspaces',
    column: 'access_token',
    idColumn: 'workspace_id',
    place: (workspaceId) => sealedAs.accessToken(workspaceId),
  },
  {
    table: 'workspaces',
    column: 'messenger_secret',
    idColumn: 'workspace_id',
    place: (workspaceId) => sealedAs.messengerSecret(workspaceId),
  },
  { table: 'projects', column: 'api_key', idColumn: 'project_id', place: sealedAs.apiKey },
  { table: 'projects', column: 'signing_secret', idColumn: 'project_id', place: sealedAs.signingSecret },
];

/**
 * Seals again, with the first key, what older keys have sealed, so that an operator may then drop those. Runs
 * beside everything else: a secret that is replaced meanwhile is left as it is.
 *
 * @returns number of secrets sealed again
 * @throws Error when a secret opens with none of the keys
 */
export async function resealSecrets(database: Database, secrets: SecretBox): Promise<number> {
  let count = 0;
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  for (const { workspace_id: workspaceId } of workspaces) {
    for (const place of SEALED_COLUMNS) count += await resealColumn(database, secrets, workspaceId, place);
  }
  return count;
}

async function resealColumn(
  database: Database,
  secrets: SecretBox,
  workspaceId: string,
  { table, column, idColumn, place }: SealedColumn,
): Promise<number> {
  const rows = await database.query<{ id: string; sealed: string }>(
    `select ${idColumn} as id, ${column} as sealed from ${table}
      where workspace_id = $1 and ${column} is not null`,
    [workspaceId],
  );
  let count = 0;
  for (const { id, sealed } of rows) {
    if (!secrets.isStale(sealed)) continue;
    const context = place(workspaceId, id);
    const replaced = await database.query(
      `update ${table} set ${column} = $4 where workspace_id = $1 and ${idColumn} = $2 and ${column} = $3 returning 1`,
      [workspaceId, id, sealed, secrets.seal(secrets.open(sealed, context), context)],
    );
    count += replaced.length;
  }
  return count;
}
