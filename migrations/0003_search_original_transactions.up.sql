-- Receipts of a renewal name its own transaction or the first one. Events that are themselves the first are found by
-- events_transaction. While the index is built only the processor waits: webhooks are appended to the journal.
create index events_original_transaction on events (workspace_id, (fields->>'original_transaction_id'))
  where fields->>'original_transaction_id' <> transaction_id;
