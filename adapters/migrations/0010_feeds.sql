-- What views that are fed from a topic have of its partitions. A view has everything up to its position; of a partition
-- that has been read further it has that as well, and everything of the partition's streams up to the mark.

create table projections.marks (
    name        text    not null,
    generation  integer not null,  -- of the view: what a view that has been made again had is not what it has
    partitions  integer not null,  -- how many the topic had: where a stream belongs follows from that
    partition   integer not null,
    position    bigint  not null,
    primary key (name, partitions, partition)
) with (fillfactor = 10);

grant select, insert, update, delete on projections.marks to counterfoil_projector;
grant delete on relay.topics to counterfoil_projector;
