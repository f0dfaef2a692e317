-- Every key starts with workspace_id, so that Citus can distribute the tables by it. The exceptions (oauth_states,
-- workers) hold no customer's data.
-- One section for each folder that owns the tables. From the first release on this file is never edited.

------------------------------------------------------------------------------------------------- workspaces

-- refusals: what Intercom refuses because a permission or a plan is missing, by what was refused.
-- health_told: the health state that was last reported to Intercom; only changes are reported.
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
  -- Key of the hashes in erased_ids; made by the first erasure.
  erasure_key       text,
  -- Whether Intercom enforces identity verification in the Messenger; null: not known.
  identity_verification boolean,
  installed_by      jsonb,
  installed_at      timestamptz not null default now(),
  uninstalled_at    timestamptz,
  disconnected_at   timestamptz,
  checked_at        timestamptz,
  attributes_ready  boolean not null default false,
  not_before        timestamptz,
  last_claimed_at   timestamptz,
  refusals          jsonb not null default '{}',
  health_told       jsonb
);

-- disconnected_…: for a day after a disconnection, what undoing it needs. webhook_auth_hash is empty then.
create table projects (
  workspace_id          text not null,
  project_id            text not null,
  revenuecat_project_id text not null,
  name                  text not null,
  api_key               text,
  api_key_state         text not null default 'unchecked'
                        check (api_key_state in ('none', 'unchecked', 'valid', 'rejected')),
  missing_scopes        jsonb not null default '[]',
  webhook_auth_hash     text not null,
  signing_secret        text,
  webhook_id            text,
  last_received_at      timestamptz,
  last_refused_at       timestamptz,
  refused_for           text,
  disconnected_at       timestamptz,
  disconnected_auth_hash text,
  created_at            timestamptz not null default now(),
  primary key (workspace_id, project_id)
);

create table sessions (
  workspace_id text not null,
  session_hash text not null,
  admin        jsonb not null,
  csrf         text not null,
  user_agent   text not null default '',
  created_at   timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at   timestamptz not null,
  primary key (workspace_id, session_hash)
);

create table oauth_states (
  state_hash text primary key,
  purpose    text not null,
  expires_at timestamptz not null
);
create index oauth_states_expired on oauth_states (expires_at);

------------------------------------------------------------------------------------------------- subscribers

create table subscribers (
  workspace_id       text not null,
  project_id         text not null,
  subscriber_id      uuid not null,
  merged_into        uuid,
  email              text,
  email_at_ms        bigint not null default 0,
  snapshot           jsonb,
  snapshot_at        timestamptz,
  first_event_at_ms  bigint,
  last_event_at_ms   bigint,
  version            bigint not null default 0,
  due_at             timestamptz,
  lease_until        timestamptz,
  lease_owner        uuid,
  attempts           integer not null default 0,
  failing_since      timestamptz,
  waiting            boolean not null default false,
  -- Events that the last delivery left pending, and the code of what they wait for.
  pending_events     integer not null default 0,
  pending_reason     text,
  contact_id         text,
  attributes_written jsonb,
  created_at         timestamptz not null default now(),
  primary key (workspace_id, subscriber_id)
) with (fillfactor = 80);
create index subscribers_due on subscribers (workspace_id, due_at) where due_at is not null;
create index subscribers_email on subscribers (workspace_id, email) where email is not null;
create index subscribers_contact on subscribers (workspace_id, contact_id) where contact_id is not null;
-- Those that wait for a contact are few: counting and waking them must not read all of the workspace.
create index subscribers_waiting on subscribers (workspace_id) where waiting;
create index subscribers_pending on subscribers (workspace_id) where pending_events > 0;

create table subscriber_ids (
  workspace_id  text not null,
  project_id    text not null,
  app_user_id   text not null,
  subscriber_id uuid not null,
  primary key (workspace_id, app_user_id, project_id)
);
create index subscriber_ids_subscriber on subscriber_ids (workspace_id, subscriber_id);

-- Customers that are not stored again: keyed hashes of their app user ids. `customer` joins those of one customer.
create table erased_ids (
  workspace_id text not null,
  project_id   text not null,
  id_hash      text not null,
  customer     uuid not null,
  erased_at    timestamptz not null default now(),
  erased_by    jsonb not null,
  primary key (workspace_id, project_id, id_hash)
);

------------------------------------------------------------------------------------------------- ingestion

-- The journal: every webhook as it arrived. Append-only; the processor reads it in the order of `sequence`.
-- payload is text, not json: it is checked before it is appended, and nothing but the interpreter reads it.
create table webhooks (
  workspace_id text not null,
  project_id   text not null,
  event_id     text not null,
  sequence     bigint generated always as identity,
  received_at  timestamptz not null default now(),
  payload      text not null,
  processed_at timestamptz,
  error        text,
  -- Why the payload was emptied ('erased'); null: it is as it arrived.
  pruned_for   text,
  primary key (workspace_id, project_id, event_id)
);
create index webhooks_sequence on webhooks (workspace_id, project_id, sequence);
create index webhooks_unprocessed on webhooks (workspace_id, project_id, sequence) where processed_at is null;
create index webhooks_failed on webhooks (workspace_id, received_at) where error is not null;

-- fields: what RevenueCat said of the event, without customer attributes and nulls. It outlives the payload.
create table events (
  workspace_id   text not null,
  project_id     text not null,
  event_id       text not null,
  side           text not null default 'customer' check (side in ('customer', 'source')),
  subscriber_id  uuid not null,
  type           text not null,
  kind           text not null,
  environment    text,
  event_at_ms    bigint not null,
  received_at    timestamptz not null default now(),
  transaction_id text,
  fields         json not null,
  -- Why the event is never sent to Intercom ('timeline_only', 'imported'); null: it is delivered.
  skip_reason    text,
  primary key (workspace_id, project_id, event_id, side)
) with (fillfactor = 80);
create index events_timeline on events (workspace_id, subscriber_id, event_at_ms, event_id);
create index events_transaction on events (workspace_id, transaction_id) where transaction_id is not null;
create index events_skipped on events (workspace_id, received_at) where skip_reason is not null;
create index events_received on events (workspace_id, received_at);
-- Counting the events of each kind needs only this index; with `side` in its columns it read the whole table.
create index events_kind on events (workspace_id, kind, received_at) where side = 'customer';

------------------------------------------------------------------------------------------------- contacts

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

-- Ids of Intercom's webhooks that were handled.
create table notifications (
  workspace_id    text not null,
  notification_id text not null,
  received_at     timestamptz not null default now(),
  primary key (workspace_id, notification_id)
);

------------------------------------------------------------------------------------------------- delivery

-- How events stand with Intercom. A row is made when an event is planned, and rewritten once per outcome: so no index
-- names a column that a successful delivery changes (HOT updates; figures in docs/performance.md). Pending events are
-- found through their subscriber: those that have no row, or one with neither delivered_at nor not_sent.
-- not_sent is only set for events that are not sent (again).
create table event_deliveries (
  workspace_id   text not null,
  subscriber_id  uuid not null,
  project_id     text not null,
  event_id       text not null,
  received_at    timestamptz not null,
  -- Name and second under which Intercom gets the event; a retry repeats them.
  sent_name      text,
  sent_at_s      bigint,
  first_tried_at timestamptz,
  next_try_at    timestamptz,
  delivered_at   timestamptz,
  attempts       integer not null default 0,
  reason         text,
  contact_id     text,
  not_sent       text check (not_sent in ('failed', 'skipped')),
  primary key (workspace_id, subscriber_id, project_id, event_id)
) with (fillfactor = 70);
create index event_deliveries_not_sent on event_deliveries (workspace_id, not_sent, received_at, event_id)
  where not_sent is not null;

-- request is json, not jsonb: the order of its keys is shown as it was sent.
create table delivery_attempts (
  workspace_id  text not null,
  attempt_id    bigint generated always as identity,
  subscriber_id uuid not null,
  event_id      text,
  at            timestamptz not null default now(),
  request       json not null,
  answer        text,
  status        integer,
  code          text not null,
  message       text,
  primary key (workspace_id, attempt_id)
);
create index delivery_attempts_subscriber on delivery_attempts (workspace_id, subscriber_id, attempt_id);
create index delivery_attempts_at on delivery_attempts (workspace_id, at);

-- What all worker processes together may still call of a workspace's Intercom in the running window.
create table call_budgets (
  workspace_id text primary key,
  quota        integer not null,
  calls_left   integer not null,
  until_ms     bigint not null
) with (fillfactor = 50);

-- The processes that hold leases.
create table workers (
  worker_id  uuid primary key,
  started_at timestamptz not null default now()
);

------------------------------------------------------------------------------------------------- revenuecat

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

-- What all processes together may still call of a project's RevenueCat.
create table revenuecat_budgets (
  workspace_id  text not null,
  project_id    text not null,
  domain        text not null check (domain in ('customer', 'configuration')),
  per_minute    integer not null,
  tokens        double precision not null,
  at_ms         double precision not null,
  hold_until_ms double precision not null default 0,
  primary key (workspace_id, project_id, domain)
) with (fillfactor = 50);

------------------------------------------------------------------------------------------------- inbox-card

-- The summary of a subscriber's history for the card; it can be rebuilt from the events at any time.
create table subscriber_summaries (
  workspace_id  text not null,
  subscriber_id uuid not null,
  format        integer not null,
  version       bigint not null,
  valid_until   timestamptz not null,
  summary       jsonb not null,
  primary key (workspace_id, subscriber_id)
);

-------------------------------------------------------------------------------------------------- actions

-- What teammates do for customers through RevenueCat. `target` is RevenueCat's id of what the action is about: an
-- entitlement, a subscription, a purchase or a customer. `details` are those of a store action. The states and what leads from one to the next: src/grants/action.ts.
create table actions (
  workspace_id        text not null,
  action_id           uuid not null,
  kind                text not null default 'grant'
                      check (kind in ('grant', 'cancel', 'refund', 'extend', 'transfer', 'restore', 'manage')),
  project_id          text not null,
  subscriber_id       uuid not null,
  app_user_id         text not null,
  target              text not null,
  reason              text not null,
  idempotency_key     text not null,
  admin               jsonb not null,
  decided_by          jsonb,
  conversation_id     text,
  contact_id          text,
  state               text not null default 'requested'
                      check (state in ('awaiting_approval', 'declined', 'withdrawn', 'requested', 'confirmed',
                                       'failed', 'revoking', 'revoked')),
  error               text,
  created_at          timestamptz not null default now(),
  called_at           timestamptz,
  answered            boolean not null default false,
  completed_at        timestamptz,
  details             jsonb,
  lookup_key          text,
  entitlement_name    text,
  duration            text,
  start               text not null default 'now' check (start in ('after', 'now')),
  previous_end_at     timestamptz,
  requested_end_at    timestamptz,
  actual_end_at       timestamptz,
  unchanged           boolean not null default false,
  revoked_by          jsonb,
  revoke_reason       text,
  revoke_called_at    timestamptz,
  revoked_at          timestamptz,
  primary key (workspace_id, action_id),
  check (kind = 'grant' or details is not null),
  check (kind <> 'grant' or (lookup_key is not null and duration is not null and requested_end_at is not null))
);
create unique index actions_idempotency on actions (workspace_id, idempotency_key);
create index actions_subscriber on actions (workspace_id, subscriber_id, created_at);
create index actions_admin on actions (workspace_id, (admin->>'id'), created_at);
create index actions_unconfirmed on actions (workspace_id, created_at) where state in ('requested', 'revoking');

create table action_notes (
  workspace_id    text not null,
  action_id       uuid not null,
  subscriber_id   uuid not null,
  step            text not null check (step in ('requested', 'declined', 'confirmed', 'failed', 'revoked')),
  conversation_id text not null,
  admin_id        text not null,
  state           text not null default 'queued' check (state in ('queued', 'sending', 'sent', 'failed')),
  attempts        integer not null default 0,
  error           text,
  created_at      timestamptz not null default now(),
  attempted_at    timestamptz,
  primary key (workspace_id, action_id, step)
);
create index action_notes_subscriber on action_notes (workspace_id, subscriber_id);
create index action_notes_open on action_notes (workspace_id, created_at) where state in ('queued', 'sending');

-- One grant for many customers. Each customer's own grant is an action; this is the list that makes them.
create table bulk_grants (
  workspace_id     text not null,
  bulk_grant_id    uuid not null,
  project_id       text not null,
  entitlement_id   text not null,
  lookup_key       text not null,
  entitlement_name text not null,
  duration         text not null,
  start            text not null check (start in ('after', 'now')),
  reason           text not null,
  admin            jsonb not null,
  decided_by       jsonb,
  state            text not null default 'draft'
                   check (state in ('draft', 'awaiting_approval', 'running', 'paused', 'done', 'undoing', 'undone')),
  created_at       timestamptz not null default now(),
  started_at       timestamptz,
  finished_at      timestamptz,
  primary key (workspace_id, bulk_grant_id)
);

create table bulk_grant_customers (
  workspace_id  text not null,
  bulk_grant_id uuid not null,
  app_user_id   text not null,
  state         text not null default 'pending'
                check (state in ('pending', 'granted', 'unchanged', 'failed', 'undone', 'undo_failed')),
  attempts      integer not null default 0,
  action_id     uuid,
  error         text,
  claimed_until timestamptz,
  finished_at   timestamptz,
  primary key (workspace_id, bulk_grant_id, app_user_id)
);
create index bulk_grant_customers_state on bulk_grant_customers (workspace_id, bulk_grant_id, state);

-- One row for each teammate: the holder of its lock counts that teammate's actions of the month alone.
create table action_admins (
  workspace_id text not null,
  admin_id     text not null,
  primary key (workspace_id, admin_id)
);

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

------------------------------------------------------------------------------------------------- messenger

-- Keys with which a workspace's own backend, or its Fin data connector, calls us. Only their hashes are stored.
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
create unique index api_keys_id on api_keys (workspace_id, key_id);

-- A support link opens once. Only a hash of its random id is stored, until the link has expired.
create table used_support_links (
  workspace_id text not null,
  link_hash    text not null,
  expires_at   timestamptz not null,
  primary key (workspace_id, link_hash)
);

------------------------------------------------------------------------------------------------- backfill

create table imports (
  workspace_id     text not null,
  project_id       text not null,
  import_id        uuid not null,
  state            text not null default 'running'
                   check (state in ('running', 'paused', 'cancelled', 'done', 'failed')),
  reason           text,
  events_since     bigint,
  has_events       boolean,
  cursor           text,
  is_listed        boolean not null default false,
  listed           integer not null default 0,
  done             integer not null default 0,
  new_customers    integer not null default 0,
  missing          integer not null default 0,
  failed           integer not null default 0,
  subscriptions    integer not null default 0,
  purchases        integer not null default 0,
  new_events       integer not null default 0,
  known_events     integer not null default 0,
  started_by       jsonb not null default '{}',
  started_at       timestamptz not null default now(),
  finished_at      timestamptz,
  seen_at          timestamptz not null default now(),
  pace_at          timestamptz not null default now(),
  pace_done        integer not null default 0,
  pace_before_at   timestamptz not null default now(),
  pace_before_done integer not null default 0,
  primary key (workspace_id, project_id, import_id)
) with (fillfactor = 50);
create unique index imports_open on imports (workspace_id, project_id) where state in ('running', 'paused');
create index imports_started on imports (workspace_id, project_id, started_at);

-- The customers that an import has to read.
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

-- When a subscriber's state should have changed.
create table reconcile_marks (
  workspace_id  text not null,
  subscriber_id uuid not null,
  version       bigint not null,
  check_at      timestamptz,
  primary key (workspace_id, subscriber_id)
);
create index reconcile_marks_due on reconcile_marks (workspace_id, check_at) where check_at is not null;
