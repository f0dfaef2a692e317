import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Keys with which a workspace's own backend, or its Fin data connector, asks us. Only their hashes are kept. */
export class ApiKeys1790000000020 implements MigrationInterface {
  name = 'ApiKeys1790000000020';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
create table api_keys (
  workspace_id text not null,
  key_hash     text not null,
  key_id       uuid not null,
  kind         text not null check (kind in ('messenger', 'fin')),
  name         text not null,
  prefix       text not null,
  created_by   jsonb not null,
  created_at   timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at   timestamptz,
  primary key (workspace_id, key_hash)
);
create unique index api_keys_id on api_keys (workspace_id, key_id)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table api_keys');
  }
}
