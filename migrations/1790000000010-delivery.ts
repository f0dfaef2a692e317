import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * `call_budgets` is what all worker processes together may still call of a workspace's Intercom in the running
 * window. `workers` names the processes that hold leases; it holds no customer's data and has no workspace.
 * The two indexes on events carry the settings' pages.
 */
const UP = `
create table call_budgets (
  workspace_id text primary key,
  quota        integer not null,
  calls_left   integer not null,
  until_ms     bigint not null
) with (fillfactor = 50);

create table workers (
  worker_id  uuid primary key,
  started_at timestamptz not null default now()
);

create index events_received on events (workspace_id, received_at);
create index events_kind on events (workspace_id, kind, received_at);
`;

export class Delivery1790000000010 implements MigrationInterface {
  name = 'Delivery1790000000010';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index events_kind`);
    await runner.query(`drop index events_received`);
    await runner.query(`drop table workers`);
    await runner.query(`drop table call_budgets`);
  }
}
