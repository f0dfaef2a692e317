import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * `revenuecat_budgets` is what all processes together may still call of a project's RevenueCat. `imports` and
 * `import_customers` are an import of a project's history and the customers that it has to read.
 * `reconcile_marks` says when a subscriber's state should have changed, `retention_marks` how far old payloads
 * are thinned.
 */
const UP = `
create table revenuecat_budgets (
  workspace_id text not null,
  project_id   text not null,
  domain       text not null check (domain in ('customer', 'configuration')),
  per_minute   integer not null,
  tokens       double precision not null,
  at_ms        double precision not null,
  hold_until_ms double precision not null default 0,
  primary key (workspace_id, project_id, domain)
) with (fillfactor = 50);

create table imports (
  workspace_id   text not null,
  project_id     text not null,
  import_id      uuid not null,
  state          text not null default 'running'
                 check (state in ('running', 'paused', 'cancelled', 'done', 'failed')),
  reason         text,
  events_since   bigint,
  has_events     boolean,
  cursor         text,
  is_listed      boolean not null default false,
  listed         integer not null default 0,
  done           integer not null default 0,
  new_customers  integer not null default 0,
  missing        integer not null default 0,
  failed         integer not null default 0,
  subscriptions  integer not null default 0,
  purchases      integer not null default 0,
  new_events     integer not null default 0,
  known_events   integer not null default 0,
  started_by     jsonb not null default '{}',
  started_at     timestamptz not null default now(),
  finished_at    timestamptz,
  seen_at        timestamptz not null default now(),
  pace_at        timestamptz not null default now(),
  pace_done      integer not null default 0,
  pace_before_at timestamptz not null default now(),
  pace_before_done integer not null default 0,
  primary key (workspace_id, project_id, import_id)
) with (fillfactor = 50);
create unique index imports_open on imports (workspace_id, project_id) where state in ('running', 'paused');
create index imports_started on imports (workspace_id, project_id, started_at);

create table import_customers (
  workspace_id text not null,
  project_id   text not null,
  import_id    uuid not null,
  customer_id  text not null,
  attempts     integer not null default 0,
  not_before   timestamptz not null default now(),
  code         text,
  done_at      timestamptz,
  primary key (workspace_id, project_id, import_id, customer_id)
) with (fillfactor = 80);
create index import_customers_open on import_customers (workspace_id, project_id, import_id, not_before)
  where done_at is null;

create table reconcile_marks (
  workspace_id  text not null,
  subscriber_id uuid not null,
  version       bigint not null,
  check_at      timestamptz,
  primary key (workspace_id, subscriber_id)
);
create index reconcile_marks_due on reconcile_marks (workspace_id, check_at) where check_at is not null;

create table retention_marks (
  workspace_id text not null,
  done_until   timestamptz not null,
  updated_at   timestamptz not null default now(),
  primary key (workspace_id)
);
`;

export class History1790000000030 implements MigrationInterface {
  name = 'History1790000000030';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of [
      'retention_marks',
      'reconcile_marks',
      'import_customers',
      'imports',
      'revenuecat_budgets',
    ]) {
      await runner.query(`drop table ${table}`);
    }
  }
}
