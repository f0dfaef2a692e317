truncate subscriber_summaries;
alter table subscriber_summaries alter column summary type jsonb using null;
