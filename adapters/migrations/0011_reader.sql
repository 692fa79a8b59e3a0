-- Who reads and changes nothing: the ledger, the views and the replays, but no secrets, answers or keys of people.

create or replace view ledger.facts as
select position, stream_id, split_part(topic, '.', 1) as stream_type, version, topic,
       ledger.as_json(payload) as data, ledger.as_json(metadata) as metadata, recorded_at,
       split_part(topic, '@', 1) as type
  from ledger.events;

revoke execute on function ledger.append from public;  -- whoever may look into the schema could have called it

grant usage on schema ledger, projections to counterfoil_reader;
grant select on ledger.events, ledger.head, ledger.facts to counterfoil_reader;
grant select on projections.cursors, projections.replays to counterfoil_reader;
alter default privileges for role counterfoil_projector grant usage on schemas to counterfoil_reader;
alter default privileges for role counterfoil_projector grant select on tables to counterfoil_reader;

-- The views and replays that are there already.
do $$
declare
    made name;
begin
    for made in select nspname from pg_namespace where nspowner = 'counterfoil_projector'::regrole loop
        execute format('grant usage on schema %I to counterfoil_reader', made);
        execute format('grant select on all tables in schema %I to counterfoil_reader', made);
    end loop;
end $$;
