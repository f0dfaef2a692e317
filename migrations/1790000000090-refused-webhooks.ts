import type { MigrationInterface, QueryRunner } from 'typeorm';

/** When a webhook of a project was last refused, and for what: nothing else tells that its secret was changed. */
export class RefusedWebhooks1790000000090 implements MigrationInterface {
  name = 'RefusedWebhooks1790000000090';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `alter table projects add column last_refused_at timestamptz, add column refused_for text`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table projects drop column refused_for, drop column last_refused_at`);
  }
}
