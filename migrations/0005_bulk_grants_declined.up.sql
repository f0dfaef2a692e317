-- A grant to many that waits for approval can be declined, or withdrawn by the admin who requested it.
alter table bulk_grants drop constraint bulk_grants_state_check;
alter table bulk_grants add constraint bulk_grants_state_check check (
  state in ('draft', 'awaiting_approval', 'declined', 'withdrawn', 'running', 'paused', 'done', 'undoing', 'undone'));
