-- The chart of the last 30 days counts what was received from this index alone, and what became of it from the newest
-- part of event_deliveries. While the indexes are built only the processor and deliveries wait: 0006 drops the index that
-- is replaced here, since dropping locks out reads until the transaction ends.
alter index events_received rename to events_received_old;
create index events_received on events (workspace_id, received_at) include (side, skip_reason);
create index event_deliveries_received on event_deliveries using brin (received_at);
