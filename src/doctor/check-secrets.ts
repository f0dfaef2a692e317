import type { Sql } from '../database/sql.ts';
import { createSecretBox } from '../workspaces/secrets.ts';
import { sealedAs } from '../workspaces/store.ts';
import { type Finding, ok, problem } from './finding.ts';

interface SealedRow {
  workspace_id: string;
  project_id: string | null;
  what: 'access_token' | 'messenger_secret' | 'api_key' | 'signing_secret';
  sealed: string;
}

const CONTEXTS = {
  access_token: (row: SealedRow) => sealedAs.accessToken(row.workspace_id),
  messenger_secret: (row: SealedRow) => sealedAs.messengerSecret(row.workspace_id),
  api_key: (row: SealedRow) => sealedAs.apiKey(row.workspace_id, row.project_id ?? ''),
  signing_secret: (row: SealedRow) => sealedAs.signingSecret(row.workspace_id, row.project_id ?? ''),
};

const NAMES = {
  access_token: "Intercom's access token",
  messenger_secret: 'the Messenger secret',
  api_key: "RevenueCat's API key",
  signing_secret: "the webhook's signing secret",
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
      return box === null || box.open(row.sealed, CONTEXTS[row.what](row)) === '';
    } catch {
      return true;
    }
  });
  const [first] = unreadable;
  if (!first) return [ok('encryption_key', `The encryption keys open all ${rows.length} stored secrets.`)];
  return [
    problem(
      'encryption_key',
      `${unreadable.length} of ${rows.length} stored secrets do not open with the encryption keys, among them ${NAMES[first.what]} of workspace ${first.workspace_id}.`,
      'Add the key that sealed them to ENCRYPTION_KEYS (the newest first, older ones after a comma). If it is lost: reinstall the app in the workspace and paste the API key again in its settings.',
    ),
  ];
}

function sealedOf(sql: Sql, workspaceId: string): Promise<SealedRow[]> {
  return sql.query<SealedRow>(
    `select workspace_id, null::text as project_id, t.what, t.sealed
       from workspaces
      cross join lateral (values ('access_token', access_token), ('messenger_secret', messenger_secret)) t (what, sealed)
      where workspace_id = $1 and t.sealed is not null
     union all
     select workspace_id, project_id, t.what, t.sealed
       from projects
      cross join lateral (values ('api_key', api_key), ('signing_secret', signing_secret)) t (what, sealed)
      where workspace_id = $1 and t.sealed is not null`,
    [workspaceId],
  );
}
