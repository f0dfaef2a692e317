import type { Database } from '../database/sql.ts';
import type { SecretBox } from './secrets.ts';
import { sealedAs } from './store.ts';

/**
 * Seals again, with the first key, what older keys have sealed, so that an operator may then drop those. Runs
 * beside everything else: a secret that is replaced meanwhile is left as it is.
 *
 * @returns number of secrets sealed again
 * @throws Error when a secret opens with none of the keys
 */
export async function resealSecrets(database: Database, secrets: SecretBox): Promise<number> {
  let count = 0;

  async function reseal(
    sealed: string | null,
    place: string,
    replace: (fresh: string, old: string) => Promise<unknown[]>,
  ): Promise<void> {
    if (sealed === null || !secrets.isStale(sealed)) return;
    const replaced = await replace(secrets.seal(secrets.open(sealed, place), place), sealed);
    count += replaced.length;
  }

  const workspaces = await database.query<{
    workspace_id: string;
    access_token: string | null;
    messenger_secret: string | null;
  }>('select workspace_id, access_token, messenger_secret from workspaces');
  for (const row of workspaces) {
    const id = row.workspace_id;
    await reseal(row.access_token, sealedAs.accessToken(id), (fresh, old) =>
      database.query(
        'update workspaces set access_token = $3 where workspace_id = $1 and access_token = $2 returning 1',
        [id, old, fresh],
      ),
    );
    await reseal(row.messenger_secret, sealedAs.messengerSecret(id), (fresh, old) =>
      database.query(
        'update workspaces set messenger_secret = $3 where workspace_id = $1 and messenger_secret = $2 returning 1',
        [id, old, fresh],
      ),
    );
    const projects = await database.query<{
      project_id: string;
      api_key: string | null;
      signing_secret: string | null;
    }>('select project_id, api_key, signing_secret from projects where workspace_id = $1', [id]);
    for (const project of projects) {
      const projectId = project.project_id;
      await reseal(project.api_key, sealedAs.apiKey(id, projectId), (fresh, old) =>
        database.query(
          `update projects set api_key = $4
            where workspace_id = $1 and project_id = $2 and api_key = $3 returning 1`,
          [id, projectId, old, fresh],
        ),
      );
      await reseal(project.signing_secret, sealedAs.signingSecret(id, projectId), (fresh, old) =>
        database.query(
          `update projects set signing_secret = $4
            where workspace_id = $1 and project_id = $2 and signing_secret = $3 returning 1`,
          [id, projectId, old, fresh],
        ),
      );
    }
  }
  return count;
}
