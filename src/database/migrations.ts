import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MigrationInterface, QueryRunner } from 'typeorm';

const FOLDER = join(import.meta.dirname, '../../migrations');

/**
 * How long a migration waits for a lock on a table. All statements after it wait as well, even reads, so a transaction
 * that takes hours (pg_dump) would otherwise stop the app. `migrate` tries again.
 */
const LOCK_TIMEOUT = '2s';

/** TypeORM orders migrations by the timestamp at the end of their names. */
const FIRST_TIMESTAMP = 1_790_000_000_000;

type Migration = new () => MigrationInterface & { name: string };

/** @param file such as `0001_initial.up.sql`, with each `;` at the end of a line; a `.down.sql` is next to it */
function migrationOf(file: string): Migration {
  const [, number = '', title = ''] = /^(\d{4})_(\w+)\.up\.sql$/.exec(file) ?? [];
  if (number === '') throw new Error(`migrations/${file}: name it 0002_what_it_does.up.sql`);
  const words = title.split('_').map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  const run = async (runner: QueryRunner, name: string): Promise<void> => {
    await runner.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
    const statements = readFileSync(join(FOLDER, name), 'utf8').split(/;\s*$/m).filter(Boolean);
    // One by one: Citus forwards what it is sent to its nodes, which accept one statement at a time.
    for (const statement of statements) await runner.query(statement);
  };
  return class implements MigrationInterface {
    name = `${words.join('')}${FIRST_TIMESTAMP + Number(number)}`;

    up(runner: QueryRunner): Promise<void> {
      return run(runner, file);
    }

    down(runner: QueryRunner): Promise<void> {
      return run(runner, file.replace('.up.', '.down.'));
    }
  };
}

/** Every file of `migrations/`, in order. Append-only from the first release on. */
export const MIGRATIONS: Migration[] = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.up.sql'))
  .sort()
  .map(migrationOf);
