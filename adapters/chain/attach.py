"""Getting hold of a contract: deploying one, and making sure that what is at an address is ours before speaking to it."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from adapters.chain import contract, deployments
from adapters.chain.creations import Account, create, forget
from adapters.chain.deployments import Deployment, NewDeployment
from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.node import LATEST, ChainError, Node, NodeBehindError, RevertedError, WrongChainError
from adapters.chain.signer import Offer, Signer
from contracts import artifact

NAME, SYMBOL = "Counterfoil Tickets", "TICKET"


class Roles(NamedTuple):
    """Who may do what with a contract; addresses. The syncer is whoever signs for the mirror."""

    admin: str
    pauser: str
    royalty_receiver: str


class NotDeployedError(ChainError):
    """There is no contract of this ledger on the chain yet."""


async def identify(node: Node, expected: int | None) -> tuple[int, bytes]:
    """Which chain it is: its id and its first block's hash. Raises WrongChainError."""
    chain_id = await node.chain_id()
    if expected is not None and chain_id != expected:
        raise WrongChainError(f"{node.name} serves chain {chain_id}, COUNTERFOIL_CHAIN_ID says {expected}")
    first = await node.block(0)
    if first is None:
        raise WrongChainError(f"{node.name} does not know its first block")
    return chain_id, first.hash


async def attach(conn: AsyncConnection, node: Node, signer: Signer, *, chain_id: int | None) -> Deployment:
    """The contract in use on the node's chain, after making sure of it.

    Raises NotDeployedError when there is none, NodeBehindError and WrongChainError when it is not there or not ours.
    """
    found_id, genesis = await identify(node, chain_id)
    deployment = await deployments.active(conn, found_id, genesis)
    if deployment is None:
        raise NotDeployedError(
            f"no contract is known on chain {found_id} at {node.name}: `counterfoil chain deploy` makes one"
        )
    head = await node.block(LATEST)
    if head is None or head.number < deployment.deployed_block:
        raise NodeBehindError(
            f"{node.name} is at block {head.number if head is not None else 'none'};"
            f" the contract was created in block {deployment.deployed_block}"
        )
    await make_sure(conn, node, signer, deployment.contract)
    if deployment.syncer != signer.address:  # another key, which the contract's admin has given the role
        await deployments.change_syncer(conn, deployment.id, signer.address)
    return await deployments.by_id(conn, deployment.id)


async def make_sure(conn: AsyncConnection, node: Node, signer: Signer, address: str) -> None:
    """Raises WrongChainError unless the contract of this release, for this ledger and this signer, is at the address."""
    code = await node.code(address)
    where = f"at {address} on {node.name}"
    if not code:
        raise WrongChainError(f"there is no contract {where}: the chain has lost it, or it is another chain, or behind")
    try:
        answer = await node.call(address, contract.LEDGER_ID)
        may_sync = contract.number_in(await node.call(address, contract.has_role(contract.SYNCER_ROLE, signer.address)))
    except RevertedError as error:
        raise WrongChainError(f"the contract {where} is not one of ours") from error
    if not artifact().is_code(code):
        raise WrongChainError(f"the contract {where} is not the one of this release")
    if answer != await deployments.ledger_id(conn):
        raise WrongChainError(f"the contract {where} mirrors another ledger")
    if not may_sync:
        raise WrongChainError(
            f"{signer.address} may not speak to the contract {where}: its admin has to grant SYNCER_ROLE"
        )


async def deploy(
    conn: AsyncConnection,
    node: Node,
    signer: Signer,
    offer: Offer,
    roles: Roles,
    *,
    chain_id: int | None,
    base_uri: str,
) -> Deployment:
    """A fresh contract, which the mirror fills from position 0. It takes the place of the one in use on that chain.

    ``base_uri`` is where the tokens' metadata is; ``{chain_id}`` in it is replaced.
    """
    found_id, genesis = await identify(node, chain_id)
    if isinstance(node, EmbeddedNode):
        await node.endow(signer.address)
    arguments = contract.constructor(
        name=NAME,
        symbol=SYMBOL,
        base_uri=base_uri.replace("{chain_id}", str(found_id)),
        admin=roles.admin,
        syncer=signer.address,
        pauser=roles.pauser,
        royalty_receiver=roles.royalty_receiver,
        ledger=await deployments.ledger_id(conn),
    )
    account = Account(found_id, genesis, signer.address)
    receipt = await create(conn, node, signer, offer, account, artifact().bytecode + arguments)
    assert receipt.contract is not None
    new = NewDeployment(
        chain_id=found_id,
        genesis=genesis,
        contract=receipt.contract,
        syncer=signer.address,
        deployed_block=receipt.block_number,
        embedded=isinstance(node, EmbeddedNode),
    )
    async with conn.transaction():
        await forget(conn, account)
        return await deployments.enter(conn, new)
