-- The read side as it was at a position, each in a schema of its own, kept until an operator drops it.

create table projections.replays (
    name        text        primary key,           -- of the schema
    position    bigint      not null,              -- of the last fact that is in it
    instant     timestamptz,                       -- the one that was asked for, or that of the position; null: before all
    views       jsonb       not null,              -- the version of each view that it was made with
    rows        bigint      not null,
    dead_streams integer    not null,              -- how many streams could not be taken, all views together
    built_at    timestamptz not null default now()
);

grant select on projections.replays to counterfoil_app;
grant select, insert, delete on projections.replays to counterfoil_projector;
