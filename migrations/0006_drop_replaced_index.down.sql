create index events_received_old on events (workspace_id, received_at);
