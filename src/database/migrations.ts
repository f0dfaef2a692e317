import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MigrationInterface, QueryRunner } from 'typeorm';

const FOLDER = join(import.meta.dirname, '../../migrations');

function readSql(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8');
}

class Initial1790000000001 implements MigrationInterface {
  name = 'Initial1790000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(readSql('0001_initial.up.sql'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(readSql('0001_initial.down.sql'));
  }
}

/** Append-only from the first release on. */
export const MIGRATIONS = [Initial1790000000001];
