import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { findCitusForms, readCatalog } from './citus-forms.ts';
import { findUnbound, flatten, isCrossTenant, tenantTables } from './tenancy.ts';

/**
 * Checks every statement that the tests made the product run: each must carry the workspace's id, and none may have a
 * form that Citus refuses.
 *
 * @param folder where `record-statements.ts` wrote the statements
 * @param databaseUrl a migrated database
 * @returns whether all statements pass
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
  const catalog = await readCatalog(client, tables);
  let unbound = 0;
  let refused = 0;
  for (const [text, caller] of statements) {
    if (!isCrossTenant(text)) {
      const problems = await findUnbound(client, tables, text).catch((error: Error) => [error.message]);
      if (problems.length > 0) {
        unbound += 1;
        process.stdout.write(`✖ ${caller}: a statement ${problems.join('; ')}\n    ${flatten(text)}\n`);
      }
    }
    const forms = findCitusForms(catalog, text);
    if (forms.length > 0) {
      refused += 1;
      process.stdout.write(`✖ ${caller}: Citus refuses what ${forms.join('; ')}\n    ${flatten(text)}\n`);
    }
  }
  await client.end();
  process.stdout.write(
    `ℹ statements of src/ ${statements.size}, not bound to one workspace ${unbound} (test/support/tenancy.ts), of a form that Citus refuses ${refused} (test/support/citus-forms.ts)\n`,
  );
  return unbound + refused === 0;
}
