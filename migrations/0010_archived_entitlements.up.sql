-- An entitlement that RevenueCat no longer lists as active still names old events, but cannot be granted.
alter table catalog add column is_active boolean not null default true;
