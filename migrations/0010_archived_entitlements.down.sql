alter table catalog drop column is_active;
