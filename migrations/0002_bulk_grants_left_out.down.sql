alter table bulk_grants drop column left_out;
