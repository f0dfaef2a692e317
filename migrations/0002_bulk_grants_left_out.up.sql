-- Customers of the list that were left out because they have been erased.
alter table bulk_grants add column left_out integer not null default 0;
