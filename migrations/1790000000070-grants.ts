import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Grants that wait for a second teammate, what tells after a crash whether RevenueCat was asked, and the notes
 * that are still to be left. `grant_makers` has one row a teammate: whoever holds it counts their grants alone.
 */
const UP = [
  `alter table grants drop constraint grants_state_check`,
  `alter table grants add constraint grants_state_check check (state in
     ('awaiting_approval', 'declined', 'withdrawn', 'requested', 'confirmed', 'failed', 'revoking', 'revoked'))`,
  `alter table grants
     add column entitlement_name text,
     add column before_end timestamptz,
     add column asked_at timestamptz,
     add column answered boolean not null default false,
     add column kept boolean not null default false,
     add column decided_by jsonb,
     add column revoked_by jsonb,
     add column revoke_reason text,
     add column revoke_asked_at timestamptz`,
  `update grants set asked_at = created_at`,
  `create index grants_admin on grants (workspace_id, (admin->>'id'), created_at)`,
  `create index grants_unsettled on grants (workspace_id, created_at) where state in ('requested', 'revoking')`,
  `create table grant_notes (
     workspace_id    text not null,
     grant_id        uuid not null,
     subscriber_id   uuid not null,
     step            text not null check (step in ('asked', 'declined', 'granted', 'not_made', 'revoked')),
     conversation_id text not null,
     admin_id        text not null,
     state           text not null default 'queued' check (state in ('queued', 'sending', 'left', 'failed')),
     tries           integer not null default 0,
     error           text,
     created_at      timestamptz not null default now(),
     tried_at        timestamptz,
     primary key (workspace_id, grant_id, step))`,
  `create index grant_notes_subscriber on grant_notes (workspace_id, subscriber_id)`,
  `create index grant_notes_open on grant_notes (workspace_id, created_at) where state in ('queued', 'sending')`,
  `alter table grants drop column note_state`,
  `create table grant_makers (
     workspace_id text not null,
     admin_id     text not null,
     primary key (workspace_id, admin_id))`,
];

const DOWN = [
  `drop table grant_makers`,
  `drop table grant_notes`,
  `drop index grants_unsettled`,
  `drop index grants_admin`,
  `delete from grants where state in ('awaiting_approval', 'declined', 'withdrawn')`,
  `alter table grants
     drop column revoke_asked_at,
     drop column revoke_reason,
     drop column revoked_by,
     drop column decided_by,
     drop column kept,
     drop column answered,
     drop column asked_at,
     drop column before_end,
     drop column entitlement_name`,
  `alter table grants drop constraint grants_state_check`,
  `alter table grants add constraint grants_state_check check (state in
     ('requested', 'confirmed', 'failed', 'revoking', 'revoked'))`,
  `alter table grants add column note_state text not null default 'none'
     check (note_state in ('none', 'queued', 'left', 'failed'))`,
];

export class Grants1790000000070 implements MigrationInterface {
  name = 'Grants1790000000070';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of UP) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const statement of DOWN) await runner.query(statement);
  }
}
