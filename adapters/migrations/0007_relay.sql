-- How far the relay has told Kafka of the ledger. Only its cursor is worth anything, and even that could be made again
-- from the ends of the topics.

create schema relay;

-- No row: nobody has ever relayed.
create table relay.cursor (
    singleton   boolean     primary key default true check (singleton),
    generation  integer     not null default 1,  -- one more when an operator has it begin again: what a relay knew is stale
    begins_after bigint     not null default 0,  -- positions up to this one are owed to no topic
    position    bigint      not null default 0,  -- everything up to it has been acknowledged, or stays in
    problem     text,                            -- why the relay does not go on; null: it does
    moved_at    timestamptz not null default now()
) with (fillfactor = 10);

-- What the topics had when the cursor was last moved; each array has an element for each partition.
create table relay.topics (
    topic       text        primary key,
    topic_id    uuid        not null,            -- Kafka's: a topic that was deleted and made again has another one
    positions   bigint[]    not null,            -- of the last message that was acknowledged; 0: none
    offsets     bigint[]    not null             -- where in the partition that message is; -1: none
) with (fillfactor = 10);

grant usage on schema relay to counterfoil_app, counterfoil_projector;
grant select, insert, update on relay.cursor, relay.topics to counterfoil_projector;
grant select on relay.cursor, relay.topics to counterfoil_app;
