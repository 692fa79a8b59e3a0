-- The keys of people. A fact that names somebody is sealed with theirs; erasing them destroys it.

create schema privacy;

create table privacy.subject_keys (
    subject         uuid        primary key,     -- an account
    master_key      text        not null,        -- which master key wrapped it
    wrapped         bytea,                       -- null: destroyed, for ever
    made_at         timestamptz not null default now(),
    erasing_since   timestamptz,                 -- somebody has begun to erase them
    destroyed_at    timestamptz,
    check ((wrapped is null) = (destroyed_at is not null))
) with (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
-- Vacuumed whenever anything was destroyed: a wrapped key is not to lie about in a dead row.

create index subject_keys_erasing on privacy.subject_keys (erasing_since) where wrapped is not null and erasing_since is not null;

-- A key is never put back, nor made anew for somebody who was erased.
create function privacy.refuse_return() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' or old.wrapped is null or new.subject <> old.subject
       or (new.wrapped is not null and new.wrapped <> old.wrapped and new.master_key = old.master_key) then
        raise exception 'keys of people are destroyed, never put back' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger never_put_back before update or delete on privacy.subject_keys
    for each row execute function privacy.refuse_return();

grant usage on schema privacy to counterfoil_app;
grant select, insert, update on privacy.subject_keys to counterfoil_app;
create index refresh_tokens_account on secrets.refresh_tokens (account_id);
