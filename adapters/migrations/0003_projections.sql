-- Where each view has got to, and the streams whose facts it could not take.

create schema projections;

create table projections.cursors (
    name        text        primary key,
    version     integer     not null,
    position    bigint      not null,
    updated_at  timestamptz not null default now()
);

create table projections.dead_letters (
    name        text        not null,
    stream_id   uuid        not null,
    position    bigint      not null,
    error       text        not null,
    set_aside   integer     not null default 1,
    at          timestamptz not null default now(),
    primary key (name, stream_id)
);
