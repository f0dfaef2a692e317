-- No job chooses the rest of their customers.
update bulk_grants set state = 'withdrawn', finished_at = now() where state = 'choosing';
alter table bulk_grants drop constraint bulk_grants_state_check;
alter table bulk_grants add constraint bulk_grants_state_check check (
  state in ('draft', 'awaiting_approval', 'declined', 'withdrawn', 'running', 'paused', 'done', 'undoing', 'undone'));
alter table bulk_grants drop column customer_group;
