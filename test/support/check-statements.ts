import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { findUnbound, flatten, isCrossTenant, tenantTables } from './tenancy.ts';

/**
 * Checks every statement that the tests made the product run: each must carry the workspace's id.
 *
 * @param folder what `record-statements.ts` wrote
 * @param databaseUrl a migrated database
 * @returns whether all do
 */
export async function checkStatements(folder: string, databaseUrl: string): Promise<boolean> {
  const statements = new Map<string, string>();
  for (const file of await readdir(folder)) {
    const entries = JSON.parse(await readFile(join(folder, file), 'utf8')) as [string, string][];
    for (const [text, caller] of entries) statements.set(text, caller);
  }
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const tables = await tenantTables(client);
  let wrong = 0;
  for (const [text, caller] of statements) {
    if (isCrossTenant(text)) continue;
    const problems = await findUnbound(client, tables, text).catch((error: Error) => [error.message]);
    if (problems.length === 0) continue;
    wrong += 1;
    process.stdout.write(`✖ ${caller}: a statement ${problems.join('; ')}\n    ${flatten(text)}\n`);
  }
  await client.end();
  process.stdout.write(
    `ℹ statements of src/ ${statements.size}, not bound to one workspace ${wrong} (test/support/tenancy.ts)\n`,
  );
  return wrong === 0;
}
