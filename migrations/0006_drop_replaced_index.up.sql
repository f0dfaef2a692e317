-- A database that was migrated before 0004 left the index to this file has none.
drop index if exists events_received_old;
