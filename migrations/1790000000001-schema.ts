import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Every key starts with the workspace id, so that the tables can be distributed by it. The exceptions hold
 * no customer's data: a sign-in that has no workspace yet.
 */
const UP = `
create table workspaces (
  workspace_id      text primary key,
  name              text not null,
  region            text not null default 'US',
  timezone          text not null default 'UTC',
  access_token      text,
  status            text not null default 'connected' check (status in ('connected', 'disconnected', 'uninstalled')),
  status_reason     text,
  settings          jsonb not null default '{}',
  messenger_secret  text,
  installed_by      jsonb,
  installed_at      timestamptz not null default now(),
  uninstalled_at    timestamptz,
  attributes_ready  boolean not null default false,
  not_before        timestamptz,
  last_claimed_at   timestamptz
);

create table projects (
  workspace_id          text not null,
  project_id            text not null,
  revenuecat_project_id text not null,
  name                  text not null,
  api_key               text,
  api_key_state         text not null default 'unchecked'
                        check (api_key_state in ('none', 'unchecked', 'valid', 'rejected')),
  webhook_auth_hash     text not null,
  signing_secret        text,
  webhook_id            text,
  last_received_at      timestamptz,
  created_at            timestamptz not null default now(),
  primary key (workspace_id, project_id)
);

create table subscribers (
  workspace_id       text not null,
  project_id         text not null,
  subscriber_id      uuid not null,
  merged_into        uuid,
  email              text,
  email_at_ms           bigint not null default 0,
  snapshot           jsonb,
  snapshot_at        timestamptz,
  first_event_at_ms     bigint,
  last_event_at_ms      bigint,
  version            bigint not null default 0,
  due_at             timestamptz,
  lease_until        timestamptz,
  lease_owner        uuid,
  attempts           integer not null default 0,
  failing_since      timestamptz,
  waiting            boolean not null default false,
  contact_id         text,
  attributes_written jsonb,
  created_at         timestamptz not null default now(),
  primary key (workspace_id, subscriber_id)
) with (fillfactor = 80);
create index subscribers_due on subscribers (workspace_id, due_at) where due_at is not null;
create index subscribers_email on subscribers (workspace_id, email) where email is not null;
create index subscribers_contact on subscribers (workspace_id, contact_id) where contact_id is not null;

create table subscriber_ids (
  workspace_id  text not null,
  project_id    text not null,
  app_user_id   text not null,
  subscriber_id uuid not null,
  primary key (workspace_id, app_user_id, project_id)
);
create index subscriber_ids_subscriber on subscriber_ids (workspace_id, subscriber_id);

create table events (
  workspace_id   text not null,
  project_id     text not null,
  event_id       text not null,
  side           text not null default 'customer' check (side in ('customer', 'source')),
  subscriber_id  uuid not null,
  type           text not null,
  kind           text not null,
  environment    text,
  event_at_ms       bigint not null,
  received_at    timestamptz not null default now(),
  transaction_id text,
  payload        json not null,
  delivery       text not null default 'pending'
                 check (delivery in ('pending', 'delivered', 'failed', 'skipped')),
  reason         text,
  attempts       integer not null default 0,
  next_try_at    timestamptz,
  first_tried_at timestamptz,
  delivered_at   timestamptz,
  contact_id     text,
  sent_name      text,
  sent_at_s      bigint,
  primary key (workspace_id, project_id, event_id, side)
) with (fillfactor = 80);
create index events_timeline on events (workspace_id, subscriber_id, event_at_ms, event_id);
create index events_pending on events (workspace_id, subscriber_id) where delivery = 'pending';
create index events_failed on events (workspace_id, received_at) where delivery = 'failed';
create index events_transaction on events (workspace_id, transaction_id) where transaction_id is not null;

create table delivery_attempts (
  workspace_id  text not null,
  attempt_id    bigint generated always as identity,
  subscriber_id uuid not null,
  event_id      text,
  at            timestamptz not null default now(),
  request       jsonb not null,
  status        integer,
  code          text not null,
  message       text,
  primary key (workspace_id, attempt_id)
);
create index delivery_attempts_subscriber on delivery_attempts (workspace_id, subscriber_id, attempt_id);
create index delivery_attempts_at on delivery_attempts (workspace_id, at);

create table contact_links (
  workspace_id  text not null,
  contact_id    text not null,
  project_id    text not null,
  subscriber_id uuid not null,
  made_by       jsonb not null,
  made_at       timestamptz not null default now(),
  primary key (workspace_id, contact_id, project_id)
);
create index contact_links_subscriber on contact_links (workspace_id, subscriber_id);

create table catalog (
  workspace_id text not null,
  project_id   text not null,
  kind         text not null check (kind in ('entitlement', 'product')),
  id           text not null,
  lookup_key   text not null,
  display_name text,
  fetched_at   timestamptz not null default now(),
  primary key (workspace_id, project_id, kind, id)
);

create table grants (
  workspace_id    text not null,
  grant_id        uuid not null,
  project_id      text not null,
  subscriber_id   uuid not null,
  app_user_id     text not null,
  entitlement_id  text not null,
  lookup_key      text not null,
  duration        text not null,
  asked_end       timestamptz not null,
  real_end        timestamptz,
  reason          text not null,
  idempotency_key text not null,
  admin           jsonb not null,
  conversation_id text,
  contact_id      text,
  state           text not null default 'requested'
                  check (state in ('requested', 'confirmed', 'failed', 'revoking', 'revoked')),
  error           text,
  note_state      text not null default 'none' check (note_state in ('none', 'queued', 'left', 'failed')),
  created_at      timestamptz not null default now(),
  settled_at      timestamptz,
  revoked_at      timestamptz,
  primary key (workspace_id, grant_id)
);
create unique index grants_idempotency on grants (workspace_id, idempotency_key);
create index grants_subscriber on grants (workspace_id, subscriber_id, created_at);

create table audit_log (
  workspace_id    text not null,
  audit_id        bigint generated always as identity,
  at              timestamptz not null default now(),
  actor           jsonb not null,
  action          text not null,
  conversation_id text,
  contact_id      text,
  subscriber_id   uuid,
  details         jsonb not null default '{}',
  result          text not null,
  primary key (workspace_id, audit_id)
);
create index audit_log_at on audit_log (workspace_id, at);

create table notifications (
  workspace_id    text not null,
  notification_id text not null,
  received_at     timestamptz not null default now(),
  primary key (workspace_id, notification_id)
);

create table sessions (
  workspace_id text not null,
  session_hash text not null,
  admin        jsonb not null,
  csrf         text not null,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null,
  primary key (workspace_id, session_hash)
);

create table oauth_states (
  state_hash text primary key,
  purpose    text not null,
  expires_at timestamptz not null
);
`;

const TABLES = [
  'oauth_states',
  'sessions',
  'notifications',
  'audit_log',
  'grants',
  'catalog',
  'contact_links',
  'delivery_attempts',
  'events',
  'subscriber_ids',
  'subscribers',
  'projects',
  'workspaces',
];

export class Schema1790000000001 implements MigrationInterface {
  name = 'Schema1790000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(UP);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of TABLES) await runner.query(`drop table ${table}`);
  }
}
