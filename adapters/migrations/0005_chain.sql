-- What the mirror keeps beside the ledger. The plan (events, tokens) follows from the ledger and could be made again; the
-- batches, their transactions and where they were seen on a chain could not.

create schema chain;

-- Which ledger this is: a contract names the one it mirrors.
create table chain.identity (
    singleton   boolean     primary key default true check (singleton),
    ledger_id   uuid        not null default gen_random_uuid()
);
insert into chain.identity default values;

-- One contract on one chain. A chain is known by its id and its first block.
create table chain.deployments (
    id              smallint    generated always as identity primary key,
    chain_id        bigint      not null,
    genesis         bytea       not null,
    contract        text        not null,
    syncer          text        not null,             -- the account that signs
    deployed_block  bigint      not null,
    deployed_at     timestamptz not null default now(),
    embedded        boolean     not null,
    retired_at      timestamptz,

    -- The plan, as far as it has been stored.
    planned_position bigint     not null default 0,   -- the last position of the ledger that is in a batch
    planned_seq     bigint      not null default 0,   -- the contract's cursor once every batch is applied
    planned_hash    bytea       not null default decode(repeat('00', 32), 'hex'),  -- and its running hash
    planned_facts   bigint      not null default 0,
    event_count     integer     not null default 0,
    batch_count     integer     not null default 0,

    -- What was last seen of the chain.
    head_number     bigint,
    finalized_number bigint,
    contract_cursor bigint,                           -- the contract's, at the head
    balance         numeric(78),                      -- of the syncer, in wei
    problem         text,                             -- why the mirror does not go on; null: it does
    observed_at     timestamptz,

    -- How far the watcher has followed the contract's logs: the last block, and those before it that may yet go.
    watched_number  bigint,
    watched_hash    bytea,
    unique (chain_id, genesis, contract)
);
create unique index deployments_active on chain.deployments (chain_id, genesis) where retired_at is null;

-- Transactions that create a contract, until the contract is known: stored before they are sent.
create table chain.creations (
    chain_id        bigint      not null,
    genesis         bytea       not null,
    syncer          text        not null,
    transaction     bytea       not null,             -- its hash
    nonce           bigint      not null,
    code_hash       bytea       not null,             -- of the contract's code with the constructor's arguments
    raw             bytea       not null,
    max_fee         numeric(78) not null,
    priority_fee    numeric(78) not null,
    signed_at       timestamptz not null default now(),
    primary key (chain_id, genesis, syncer, transaction)
);

create table chain.batches (
    deployment      smallint    not null references chain.deployments on delete cascade,
    number          integer     not null,
    from_seq        bigint      not null,
    to_seq          bigint      not null,
    to_position     bigint      not null,             -- the ledger's, up to which facts are in this batch
    facts           integer     not null,
    operations      bytea       not null,
    running_hash    bytea       not null,             -- the contract's, once this batch is applied
    gas_limit       integer     not null,
    state           text        not null check (state in ('built', 'signed', 'sent', 'mined', 'finalized')),
    nonce           bigint,                           -- null while it is only built
    block_number    bigint,
    block_hash      bytea,
    transaction     bytea,                            -- the one of its attempts that was mined
    gas_used        integer,
    built_at        timestamptz not null default now(),
    mined_at        timestamptz,
    finalized_at    timestamptz,
    primary key (deployment, number)
);
create index batches_open on chain.batches (deployment, number) where state <> 'finalized';
create index batches_seq on chain.batches (deployment, to_seq);

-- Contracts that were told something by somebody else with the syncer's key, and where we went on: what came before is
-- covered by the contract's own hash.
create table chain.adoptions (
    deployment      smallint    not null references chain.deployments on delete cascade,
    seq             bigint      not null,             -- the contract's cursor
    running_hash    bytea       not null,             -- and its hash
    after_batch     integer     not null,             -- the last of our batches that had been applied; 0: none
    position        bigint      not null,             -- the ledger's, up to which those batches go
    block_number    bigint      not null,
    block_hash      bytea       not null,
    adopted_at      timestamptz not null default now(),
    primary key (deployment, seq)
);

-- The signed bytes of every transaction that was ever to be sent: stored before it is.
create table chain.attempts (
    deployment      smallint    not null references chain.deployments on delete cascade,
    transaction     bytea       not null,             -- its hash
    batch           integer     not null,
    nonce           bigint      not null,
    raw             bytea       not null,
    max_fee         numeric(78) not null,
    priority_fee    numeric(78) not null,
    signed_at       timestamptz not null default now(),
    sent_at         timestamptz,
    refused_at      timestamptz,                      -- mined, and the contract did not take the batch, though it was its turn
    primary key (deployment, transaction)
);
create index attempts_batch on chain.attempts (deployment, batch);

create table chain.events (
    deployment      smallint    not null references chain.deployments on delete cascade,
    event_id        uuid        not null,
    number          integer     not null,             -- 0: not published yet
    issued          bigint      not null,
    ends_at         bigint      not null,
    price_cap       numeric(20) not null,
    royalty         integer     not null,
    flags           smallint    not null,
    primary key (deployment, event_id)
);

-- What the contract will say of each token once every batch is applied.
create table chain.tokens (
    deployment      smallint    not null references chain.deployments on delete cascade,
    token           bigint      not null,
    ticket_id       uuid,                             -- null: the chain has it, the ledger never issued it
    wallet          text,                             -- null: in custody
    version         integer     not null,
    checked_in      boolean     not null,
    voided          boolean     not null,
    batch           integer     not null,             -- the last one that is about it
    primary key (deployment, token)
);
create unique index tokens_ticket on chain.tokens (deployment, ticket_id);

-- Operations that the contract passed over, as mined.
create table chain.skipped (
    deployment      smallint    not null references chain.deployments on delete cascade,
    batch           integer     not null,
    op              integer     not null,
    kind            smallint    not null,
    reason          smallint    not null,
    tokens          bigint[]    not null,
    primary key (deployment, batch, op)
);
create index skipped_tokens on chain.skipped using gin (tokens);

-- Transfers that holders made on the chain by themselves.
create table chain.transfers (
    deployment      smallint    not null references chain.deployments on delete cascade,
    block_hash      bytea       not null,
    log_index       integer     not null,
    block_number    bigint      not null,
    transaction     bytea       not null,
    token           bigint      not null,
    from_wallet     text        not null,
    to_wallet       text        not null,
    version         integer     not null,
    state           text        not null check (state in ('provisional', 'recorded', 'refused', 'orphaned', 'vanished')),
    seen_at         timestamptz not null default now(),
    primary key (deployment, block_hash, log_index)
);
create index transfers_token on chain.transfers (deployment, token);
create index transfers_open on chain.transfers (deployment, block_number) where state = 'provisional';

-- The blocks that the watcher has followed and that are not final: how it notices that one of them has gone.
create table chain.blocks (
    deployment      smallint    not null references chain.deployments on delete cascade,
    number          bigint      not null,
    hash            bytea       not null,
    parent          bytea       not null,
    primary key (deployment, number)
);

-- How far a running reconciliation has got.
create table chain.progress (
    reconciliation  uuid        primary key,
    done            bigint      not null,
    total           bigint      not null,
    at              timestamptz not null default now()
);

grant usage on schema chain to counterfoil_app;
grant select, insert, update, delete on all tables in schema chain to counterfoil_app;
