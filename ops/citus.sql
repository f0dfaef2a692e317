-- Distributes the tables over the nodes of Citus, by workspace. See docs/scale.md.
-- After "migrate", with no process of the app running:
--   psql "${DATABASE_DIRECT_URL:-$DATABASE_URL}" -f ops/citus.sql
-- Again after an upgrade that added tables: psql continues after "already distributed".
-- All tables are colocated, so that a workspace's rows, joins and transactions are on one node. There are no foreign
-- keys.

select create_distributed_table('workspaces', 'workspace_id', colocate_with => 'none', shard_count => 64);
select create_distributed_table('projects', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('subscribers', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('subscriber_ids', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('erased_ids', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('subscriber_summaries', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('webhooks', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('events', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('delivery_attempts', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('event_deliveries', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('contact_links', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('catalog', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('actions', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('action_notes', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('bulk_grants', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('bulk_grant_customers', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('action_admins', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('audit_log', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('notifications', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('sessions', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('api_keys', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('used_support_links', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('call_budgets', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('revenuecat_budgets', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('imports', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('import_customers', 'workspace_id', colocate_with => 'workspaces');
select create_distributed_table('reconcile_marks', 'workspace_id', colocate_with => 'workspaces');

-- These stay ordinary tables on the coordinator; none holds a customer's data, and nothing joins them with the above.
-- local oauth_states: a sign-in that has no workspace yet; lives for minutes.
-- local workers: one row per running worker, compared with the locks of the coordinator, to which all workers connect.
-- local schema_migrations: the migrations that have run.
-- The schema pgboss stays there too: pg-boss keeps its tables on the coordinator (DATABASE_BACKEND=citus).
