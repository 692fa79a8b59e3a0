-- What must be forgettable and therefore is not in the ledger: password hashes and refresh tokens.

create schema secrets;

create table secrets.passwords (
    account_id  uuid        primary key,
    hash        text        not null
);

create table secrets.refresh_tokens (
    digest      bytea       primary key,
    family_id   uuid        not null,
    account_id  uuid        not null,
    expires_at  timestamptz not null,
    used_at     timestamptz
);
create index refresh_tokens_family on secrets.refresh_tokens (family_id);
create index refresh_tokens_expiry on secrets.refresh_tokens (expires_at);

create table secrets.revoked_families (
    family_id   uuid        primary key,
    revoked_at  timestamptz not null default now()
);
