-- The customers of a grant to many that are chosen by their state: who is chosen, and how far a job has come. Choosing
-- them in the request that stored the draft took minutes of the web process with 200,000 customers.
alter table bulk_grants add column customer_group jsonb;
alter table bulk_grants drop constraint bulk_grants_state_check;
alter table bulk_grants add constraint bulk_grants_state_check check (
  state in ('choosing', 'draft', 'awaiting_approval', 'declined', 'withdrawn', 'running', 'paused', 'done', 'undoing', 'undone'));
