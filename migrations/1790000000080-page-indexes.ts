import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Customers that wait for a contact are few: counting and waking them must not read all of the workspace. */
export class WaitingIndex1790000000080 implements MigrationInterface {
  name = 'WaitingIndex1790000000080';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create index subscribers_waiting on subscribers (workspace_id) where waiting`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index subscribers_waiting`);
  }
}
