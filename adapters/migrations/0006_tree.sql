-- The Merkle tree over the ledger (RFC 9162), the heads of it that were signed, and the keys they were signed with.

create schema tree;

-- A row holds what some leaves that follow each other brought: each leaf's hash, and after it the hashes of the complete
-- subtrees that it completes, smallest first. Row after row this is the tree in post-order. It only ever grows: nothing in
-- it depends on leaves to come.
create table tree.nodes (
    last_leaf   bigint      primary key,  -- counted from 1: the position of the fact
    first_leaf  bigint      not null check (first_leaf <= last_leaf),
    hashes      bytea       not null
);
alter table tree.nodes alter column hashes set storage external;  -- there is nothing to compress in a hash

create table tree.keys (
    generation  integer     primary key,  -- the one with the largest signs; a key is retired when the next becomes valid
    key_id      text        not null unique,
    public_key  bytea       not null,
    valid_from  timestamptz not null
);

create table tree.heads (
    tree_size   bigint      not null,
    generation  integer     not null references tree.keys,
    root        bytea       not null,
    signed_at   timestamptz not null,
    signature   bytea       not null,
    primary key (tree_size, generation)
);

do $$
declare
    kept text;
begin
    foreach kept in array array['nodes', 'keys', 'heads'] loop
        execute format('create trigger append_only before update or delete on tree.%I
                        for each row execute function ledger.refuse_change()', kept);
        execute format('create trigger append_only_truncate before truncate on tree.%I
                        for each statement execute function ledger.refuse_change()', kept);
        execute format('alter table tree.%I enable always trigger append_only', kept);
        execute format('alter table tree.%I enable always trigger append_only_truncate', kept);
    end loop;
end $$;

-- The hashes of nodes, each the `depth`-th that its last leaf (counted from 1) brought, in the order asked for; null where
-- the tree has not got there. Before leaf n come 2(n-1) hashes less one for each bit of n-1, which tells where in its row
-- a node lies.
create function tree.hashes_of(last_leaves bigint[], depths integer[]) returns bytea[]
language sql stable as $$
    select array_agg(
               substring(n.hashes from 1 + 32 * (
                   2 * (w.leaf - n.first_leaf)::integer
                   - bit_count((w.leaf - 1)::bit(64))::integer + bit_count((n.first_leaf - 1)::bit(64))::integer + w.depth
               ) for 32) order by w.place)
      from unnest(last_leaves, depths) with ordinality w(leaf, depth, place)
      left join lateral (
          select o.first_leaf, o.hashes from tree.nodes o where o.last_leaf >= w.leaf order by o.last_leaf limit 1
      ) n on n.first_leaf <= w.leaf
$$;

grant usage on schema tree to counterfoil_app, counterfoil_projector;
grant select on all tables in schema tree to counterfoil_app, counterfoil_projector;
grant execute on all functions in schema tree to counterfoil_app, counterfoil_projector;
grant insert on tree.nodes, tree.keys, tree.heads to counterfoil_projector;
grant usage on schema chain to counterfoil_projector;
grant select on chain.identity to counterfoil_projector;
