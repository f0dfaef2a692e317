-- The states are gone: nothing of those grants is left either way.
update bulk_grants set state = 'undone' where state in ('declined', 'withdrawn');
alter table bulk_grants drop constraint bulk_grants_state_check;
alter table bulk_grants add constraint bulk_grants_state_check check (
  state in ('draft', 'awaiting_approval', 'running', 'paused', 'done', 'undoing', 'undone'));
