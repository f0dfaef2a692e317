drop index event_deliveries_received;
drop index events_received;
alter index events_received_old rename to events_received;
