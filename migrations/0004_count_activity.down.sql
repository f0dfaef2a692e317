drop index event_deliveries_received;
drop index events_received;
create index events_received on events (workspace_id, received_at);
