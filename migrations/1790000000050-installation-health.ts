import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What is known of an installation's health. `refusals` holds what Intercom refuses for want of a permission or
 * of a plan, by what was refused; `health_told` is what Intercom was last told, so that it hears of changes alone.
 * The delivery log keeps the answer beside the request, and the request as it was sent: its keys have an order.
 */
const UP = [
  `alter table workspaces
     add column refusals jsonb not null default '{}',
     add column health_told jsonb,
     add column checked_at timestamptz,
     add column disconnected_at timestamptz`,
  `update workspaces set disconnected_at = now() where status = 'disconnected'`,
  `alter table projects add column missing_scopes jsonb not null default '[]'`,
  `alter table delivery_attempts add column answer text, alter column request type json`,
];

const DOWN = [
  `alter table delivery_attempts drop column answer, alter column request type jsonb`,
  `alter table projects drop column missing_scopes`,
  `alter table workspaces
     drop column disconnected_at,
     drop column checked_at,
     drop column health_told,
     drop column refusals`,
];

export class InstallationHealth1790000000050 implements MigrationInterface {
  name = 'InstallationHealth1790000000050';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of UP) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const statement of DOWN) await runner.query(statement);
  }
}
