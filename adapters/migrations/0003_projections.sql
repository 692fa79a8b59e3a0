-- Where each view has got to, and the streams whose facts it could not take.

create schema projections;

create table projections.cursors (
    name        text        primary key,
    version     integer     not null,
    generation  integer     not null default 1,  -- one more with each rebuild: what was remembered of the view is stale
    position    bigint      not null,
    updated_at  timestamptz not null default now()
) with (fillfactor = 10);

create table projections.dead_letters (
    name        text        not null,
    stream_id   uuid        not null,
    position    bigint      not null,  -- of the first fact that the view could not take
    error       text        not null,
    set_aside   integer     not null default 1,  -- how many facts of the stream wait for a rebuild
    at          timestamptz not null default now(),
    primary key (name, stream_id)
);
