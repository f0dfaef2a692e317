import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a subscriber's history amounts to, kept for the card: it can be made anew from the events at any time. */
export class SubscriberSummaries1790000000060 implements MigrationInterface {
  name = 'SubscriberSummaries1790000000060';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
create table subscriber_summaries (
  workspace_id  text not null,
  subscriber_id uuid not null,
  format        integer not null,
  version       bigint not null,
  valid_until   timestamptz not null,
  summary       jsonb not null,
  primary key (workspace_id, subscriber_id)
)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table subscriber_summaries');
  }
}
