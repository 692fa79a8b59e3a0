-- The ledger: one append-only table, the head that orders its writers, and the answers that make commands repeatable.

create schema ledger;

create table ledger.events (
    position    bigint      primary key,
    stream_id   uuid        not null,
    version     integer     not null,
    topic       text        not null,
    payload     bytea       not null,
    metadata    bytea       not null,
    recorded_at timestamptz not null,
    constraint events_stream_version unique (stream_id, version)
);

-- One row. Whoever updates it is the writer until commit: positions are dense and in commit order.
create table ledger.head (
    singleton   boolean     primary key default true check (singleton),
    position    bigint      not null,
    recorded_at timestamptz not null
) with (fillfactor = 10);
insert into ledger.head values (true, 0, '-infinity');

create table ledger.answers (
    id          uuid        primary key,  -- digest of caller and Idempotency-Key
    fingerprint bytea       not null,     -- keyed digest of method, path and body
    status      smallint    not null,
    body        bytea       not null,     -- sealed
    position    bigint      not null,     -- of the command's last fact; 0 when there was none
    answered_at timestamptz not null
);
create index answers_answered_at on ledger.answers using brin (answered_at);

-- A convenience that may be emptied at any time; never read as the truth.
create table ledger.snapshots (
    stream_id   uuid        primary key,
    version     integer     not null,
    schema      text        not null,
    state       bytea       not null
);

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is append-only: % of % is refused', tg_op, tg_relid::regclass
        using errcode = 'restrict_violation';
end $$;
create trigger append_only before update or delete on ledger.events
    for each row execute function ledger.refuse_change();
create trigger append_only_truncate before truncate on ledger.events
    for each statement execute function ledger.refuse_change();
alter table ledger.events enable always trigger append_only;
alter table ledger.events enable always trigger append_only_truncate;

-- Append the requests of one batch. Each request is refused by itself when a stream it writes or rests on has moved
-- (`stale`) or when its key was answered before (`repeated`); the others are recorded with dense positions.
-- A batch of one request passes no `of_request`: then nothing needs sorting out, and a refusal is an error
-- (unique_violation, or serialization_failure for a condition) that rolls everything back.
create function ledger.append(
    stream_ids uuid[], versions integer[], topics text[], payloads bytea[], metadatas bytea[],
    of_request integer[] default null,
    condition_streams uuid[] default '{}', condition_versions integer[] default '{}',
    condition_requests integer[] default '{}',
    key_ids uuid[] default '{}', key_fingerprints bytea[] default '{}', key_statuses smallint[] default '{}',
    key_bodies bytea[] default '{}', key_requests integer[] default '{}', key_facts integer[] default '{}',
    out first_position bigint, out recorded timestamptz, out stale integer[], out repeated integer[]
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    fact_count integer := cardinality(stream_ids);
    refused integer[] := '{}';
begin
    update ledger.head h
       set position = h.position + fact_count, recorded_at = greatest(h.recorded_at, clock_timestamp())
     returning h.position - fact_count + 1, h.recorded_at into strict first_position, recorded;

    if of_request is null then
        if cardinality(condition_streams) > 0 and exists (
            select from unnest(condition_streams, condition_versions) c(s, v)
              join ledger.events e on e.stream_id = c.s and e.version = c.v + 1
        ) then
            raise exception 'a stream that the decision rests on has moved' using errcode = 'serialization_failure';
        end if;
    else
        stale := array(
            select c.r from unnest(condition_streams, condition_versions, condition_requests) c(s, v, r)
              join ledger.events e on e.stream_id = c.s and e.version = c.v + 1
            union
            select w.r from unnest(stream_ids, versions, of_request) w(s, v, r)
              join ledger.events e on e.stream_id = w.s and e.version = w.v
        );
        if cardinality(key_ids) > 0 then
            repeated := array(select k.r from unnest(key_ids, key_requests) k(id, r) join ledger.answers a using (id));
        end if;
        refused := stale || coalesce(repeated, '{}');
        if cardinality(refused) > 0 then
            fact_count := (select count(*) from unnest(of_request) r where r <> all (refused));
            update ledger.head h set position = first_position - 1 + fact_count;
        end if;
    end if;

    if cardinality(refused) > 0 then
        insert into ledger.events
        select first_position - 1 + row_number() over (order by w.o), w.s, w.v, w.t, w.p, w.m, recorded
          from unnest(stream_ids, versions, topics, payloads, metadatas, of_request)
               with ordinality w(s, v, t, p, m, r, o)
         where w.r <> all (refused);
    elsif fact_count = 1 then
        insert into ledger.events values
            (first_position, stream_ids[1], versions[1], topics[1], payloads[1], metadatas[1], recorded);
    elsif fact_count > 1 then
        insert into ledger.events
        select first_position - 1 + w.o, w.s, w.v, w.t, w.p, w.m, recorded
          from unnest(stream_ids, versions, topics, payloads, metadatas) with ordinality w(s, v, t, p, m, o);
    end if;

    if cardinality(key_ids) > 0 then
        -- `key_facts` counts the facts of the batch up to and including the request's own; those of the refused
        -- requests before it have no positions.
        insert into ledger.answers
        select k.id, k.f, k.st, k.b, case
                   when k.n = 0 then 0
                   when cardinality(refused) = 0 then first_position - 1 + k.n
                   else first_position - 1 + k.n
                        - (select count(*) from unnest(of_request) r where r < k.r and r = any (refused))
               end, recorded
          from unnest(key_ids, key_fingerprints, key_statuses, key_bodies, key_requests, key_facts)
               k(id, f, st, b, r, n)
         where k.r <> all (refused);
    end if;

    if fact_count > 0 then
        perform pg_notify('counterfoil_ledger', (first_position - 1 + fact_count)::text);
    end if;
end $$;

-- The last position recorded at or before an instant (0: none). Positions are dense and their times never step back,
-- so a binary search over the primary key needs no further index.
create function ledger.position_at(instant timestamptz) returns bigint language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint;
    middle bigint;
begin
    select position into high from ledger.head;
    while low < high loop
        middle := (low + high + 1) / 2;
        if (select e.recorded_at from ledger.events e where e.position = middle) <= instant then
            low := middle;
        else
            high := middle - 1;
        end if;
    end loop;
    return low;
end $$;

create function ledger.as_json(bytes bytea) returns jsonb language plpgsql immutable as $$
begin
    return convert_from(bytes, 'UTF8')::jsonb;
exception when others then
    return null;
end $$;

create view ledger.facts as
select position, stream_id, split_part(topic, '.', 1) as stream_type, version, topic,
       ledger.as_json(payload) as data, ledger.as_json(metadata) as metadata, recorded_at
  from ledger.events;
