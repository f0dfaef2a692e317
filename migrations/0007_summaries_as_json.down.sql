truncate subscriber_summaries;
alter table subscriber_summaries drop column content, alter column summary set not null;
