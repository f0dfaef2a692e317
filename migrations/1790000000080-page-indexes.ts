import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Customers that wait for a contact, and events that were not sent, are few: counting, waking and listing them must
 * not read all of the workspace.
 */
export class PageIndexes1790000000080 implements MigrationInterface {
  name = 'PageIndexes1790000000080';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create index subscribers_waiting on subscribers (workspace_id) where waiting`);
    await runner.query(
      `create index events_skipped on events (workspace_id, received_at) where delivery = 'skipped'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index events_skipped`);
    await runner.query(`drop index subscribers_waiting`);
  }
}
