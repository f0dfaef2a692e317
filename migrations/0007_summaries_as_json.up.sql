-- As jsonb, storing a summary took PostgreSQL twice the time, more than any other statement of a delivery, and no
-- statement looks into it. A column of its own, because a process of the previous version has prepared statements that
-- read `summary` and fail once its type is another. Summaries are a cache: cards fill the empty table again.
truncate subscriber_summaries;
alter table subscriber_summaries add column content json, alter column summary drop not null;
