import type { Database } from '../database/sql.ts';
import type { SealedPlace, SecretBox } from './secrets.ts';
import { secretContext } from './store.ts';

interface SealedColumn {
  readonly table: 'workspaces' | 'projects';
  readonly column: string;
  /** Whose row it is: the second part of the key, where the table has one. */
  readonly idColumn: 'workspace_id' | 'project_id';
}

/** Every column that holds something sealed: one for each place that a secret can be sealed under. */
export const SEALED_COLUMNS: Readonly<Record<keyof typeof secretContext, SealedColumn>> = {
  accessToken: { table: 'workspaces', column: 'access_token', idColumn: 'workspace_id' },
  messengerSecret: { table: 'workspaces', column: 'messenger_secret', idColumn: 'workspace_id' },
  apiKey: { table: 'projects', column: 'api_key', idColumn: 'project_id' },
  signingSecret: { table: 'projects', column: 'signing_secret', idColumn: 'project_id' },
};

export interface Resealed {
  readonly sealedAgain: number;
  /** Secrets that none of the keys opens: they stay as they are. */
  readonly unreadable: readonly { readonly workspaceId: string; readonly secret: string }[];
}

/**
 * Seals again, with the first key, what older keys have sealed, so that an operator may then drop those. Runs
 * beside everything else: a secret that is replaced meanwhile is left as it is.
 */
export async function rotateSecrets(database: Database, secrets: SecretBox): Promise<Resealed> {
  let sealedAgain = 0;
  const unreadable: { workspaceId: string; secret: string }[] = [];
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  for (const { workspace_id: workspaceId } of workspaces) {
    for (const kind of Object.keys(SEALED_COLUMNS) as (keyof typeof secretContext)[]) {
      const column = SEALED_COLUMNS[kind];
      const outcome = await resealColumn(database, secrets, workspaceId, column, (id) =>
        secretContext[kind](workspaceId, id),
      );
      sealedAgain += outcome.sealedAgain;
      for (let count = 0; count < outcome.unreadable; count += 1)
        unreadable.push({ workspaceId, secret: `${column.table}.${column.column}` });
    }
  }
  return { sealedAgain, unreadable };
}

async function resealColumn(
  database: Database,
  secrets: SecretBox,
  workspaceId: string,
  { table, column, idColumn }: SealedColumn,
  placeOf: (id: string) => SealedPlace,
): Promise<{ sealedAgain: number; unreadable: number }> {
  const rows = await database.query<{ id: string; sealed: string }>(
    `select ${idColumn} as id, ${column} as sealed from ${table}
      where workspace_id = $1 and ${column} is not null`,
    [workspaceId],
  );
  let sealedAgain = 0;
  let unreadable = 0;
  for (const { id, sealed } of rows) {
    if (!secrets.isStale(sealed)) continue;
    const fresh = sealAgain(secrets, sealed, placeOf(id));
    if (fresh === null) {
      unreadable += 1;
      continue;
    }
    const replaced = await database.query(
      `update ${table} set ${column} = $4 where workspace_id = $1 and ${idColumn} = $2 and ${column} = $3 returning 1`,
      [workspaceId, id, sealed, fresh],
    );
    sealedAgain += replaced.length;
  }
  return { sealedAgain, unreadable };
}

function sealAgain(secrets: SecretBox, sealed: string, place: SealedPlace): string | null {
  try {
    return secrets.seal(secrets.open(sealed, place), place);
  } catch {
    return null;
  }
}
