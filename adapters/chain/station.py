"""One chain and everything that runs for it: the mirror, the watcher, reconciliations, each at its own pace.

What goes wrong with a node is noted where `GET /v1/chain/status` shows it and tried again, less and less often; selling
does not know of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from adapters.chain import deployments
from adapters.chain.attach import NotDeployedError, Roles, attach, deploy, make_sure
from adapters.chain.deployments import Deployment
from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.http_node import HttpNode
from adapters.chain.mending import adopt, replan
from adapters.chain.mirror import Mirror, RetiredError
from adapters.chain.node import ChainError, Node
from adapters.chain.reconciler import reconcile
from adapters.chain.signer import Offer, Signer
from adapters.chain.watcher import Transfer, Watcher
from adapters.leader import leadership
from adapters.postgres import connect
from commands.kernel import ConflictError, OverloadedError
from commands.ticket import RecordChainTransfer
from domain.reconciliation import Report
from projections.chain_book import ChainRef

MIRROR = 0x0C0F_0005
"""Advisory lock of whoever speaks to a contract; the deployment's id is added below it."""
LOCK_BITS = 16
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.5, 30.0
IDLE_SECONDS = 0.5
WATCH_SECONDS = 1.0
DESK_SECONDS = 0.5
UNKNOWN = ""
"""What an earlier process has left."""
KEY_BYTES = 32
"""Of the EVM in the process: another one each time, or contracts of two lives would have one address."""
BUSY_SECONDS = {True: 0.02, False: 0.2}
"""Between two looks while something is on its way; the EVM in the process answers at once."""

log = structlog.get_logger()


class ChainSettings(NamedTuple):
    """How chains are spoken to."""

    chain_id: int | None
    key: bytes
    admin: str
    """The address that administers a contract that the embedded default deploys."""
    confirmations: int | None
    fee_gwei_max: int
    base_uri: str


class Desk(Protocol):
    """What the stations need of the ledger: it hears what happened on a chain, and has reconciliations carried out."""

    async def heard(self, transfer: RecordChainTransfer) -> None:
        """Of a transfer that is final, perhaps again."""

    async def waiting(self, chain: ChainRef) -> list[tuple[UUID, bool]]:
        """Those asked for of this contract and not done, oldest first; whether each is to repair what it finds."""

    async def completed(self, reconciliation: UUID, report: Report) -> None: ...

    async def failed(self, reconciliation: UUID, reason: str) -> None: ...


@dataclass(slots=True)
class Post:
    """A station that leads: its connection, its contract."""

    conn: AsyncConnection
    node: Node
    deployment: Deployment


class Station:
    """For one chain. ``url`` None: the EVM in the process, to which a contract is deployed at the start."""

    def __init__(self, database_url: str, url: str | None, settings: ChainSettings) -> None:
        self.database_url = database_url
        self.node: Node = HttpNode(url) if url is not None else EmbeddedNode()
        self.embedded = url is None
        self.signer = Signer(settings.key if url is not None else os.urandom(KEY_BYTES))
        self.offer = Offer(gwei_max=settings.fee_gwei_max)
        self.settings = settings
        self.leads = asyncio.Event()
        """Set while the contract is ours to speak to."""
        self._turn = asyncio.Lock()
        """Of whoever changes what is stored of the contract: the mirror's steps, or a repair."""
        self._mended = False
        """What the mirror has in memory is not what is stored any more."""
        self._problems: dict[str, str | None] = {}
        """By duty; at the start it is not known what the last process has left."""

    async def run(self, *duties: Callable[[Post], Awaitable[None]]) -> None:
        """Lead, or stand by until it is our turn, and do the duties (see `mirror`) until cancelled."""
        retry = RETRY_SECONDS_MIN
        try:
            while True:
                try:
                    async with self._post() as post:
                        retry = RETRY_SECONDS_MIN
                        self.leads.set()
                        async with asyncio.TaskGroup() as tasks:
                            for duty in duties:
                                tasks.create_task(self._persist(duty, post))
                except* (ChainError, psycopg.OperationalError, psycopg.InterfaceError) as errors:
                    log.warning("chain_not_attached", chain=self.node.name, why=_first_line(errors))
                finally:
                    self.leads.clear()
                await asyncio.sleep(retry)
                retry = min(2 * retry, RETRY_SECONDS_MAX)
        finally:
            await self.node.close()

    @asynccontextmanager
    async def _post(self) -> AsyncIterator[Post]:
        async with AsyncExitStack() as stack:
            conn = await stack.enter_async_context(await connect(self.database_url, "counterfoil_app"))
            if self.embedded:
                await stack.enter_async_context(leadership(self.database_url, MIRROR << LOCK_BITS))
                yield Post(conn, self.node, await self._settle_in(conn))
                return
            deployment = await self._attach(conn)
            await stack.enter_async_context(leadership(self.database_url, MIRROR << LOCK_BITS | deployment.id))
            yield Post(conn, self.node, deployment)

    async def _settle_in(self, conn: AsyncConnection) -> Deployment:
        """A contract on the EVM in the process: the one that it has already, or a new one."""
        with suppress(NotDeployedError):
            return await attach(conn, self.node, self.signer, chain_id=None)
        roles = Roles(self.settings.admin, self.settings.admin, self.settings.admin)
        base_uri = self.settings.base_uri
        return await deploy(conn, self.node, self.signer, self.offer, roles, chain_id=None, base_uri=base_uri)

    async def _attach(self, conn: AsyncConnection) -> Deployment:
        """Raises ChainError; that a known contract cannot be found is noted with it."""
        try:
            return await attach(conn, self.node, self.signer, chain_id=self.settings.chain_id)
        except NotDeployedError:
            raise
        except ChainError as error:
            for deployment in await deployments.known(conn):
                if not deployment.embedded:
                    await deployments.set_problem(conn, deployment.id, str(error))
            raise

    async def _persist(self, duty: Callable[[Post], Awaitable[None]], post: Post) -> None:
        """Do a duty again after everything that an operator can put right. What is not of that kind ends the process."""
        retry = RETRY_SECONDS_MIN
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await duty(post)
            except RetiredError:
                raise  # to take the post of the contract that is in use now
            except (ChainError, OverloadedError, ConflictError) as error:
                log.warning("chain_waits", chain=self.node.name, duty=duty.__name__, why=str(error))
                await self._note(post, duty.__name__, str(error))
            if asyncio.get_running_loop().time() - started > RETRY_SECONDS_MAX:
                retry = RETRY_SECONDS_MIN
            await asyncio.sleep(retry)
            retry = min(2 * retry, RETRY_SECONDS_MAX)

    async def known(self) -> Deployment | None:
        """The contract in use on this chain. Raises ChainError when what is there is not ours."""
        async with await connect(self.database_url, "counterfoil_app") as conn:
            try:
                return await attach(conn, self.node, self.signer, chain_id=self.settings.chain_id)
            except NotDeployedError:
                return None

    async def deploy(self, *, admin: str | None, pauser: str | None, royalty_receiver: str | None) -> Deployment:
        """A fresh contract, in place of the one in use on this chain. Whoever is not named is the syncer. Raises ChainError."""
        ours = self.signer.address
        roles = Roles(admin or ours, pauser or admin or ours, royalty_receiver or admin or ours)
        chain_id, base_uri = self.settings.chain_id, self.settings.base_uri
        async with await connect(self.database_url, "counterfoil_app") as conn:
            return await deploy(conn, self.node, self.signer, self.offer, roles, chain_id=chain_id, base_uri=base_uri)

    async def _note(self, post: Post, duty: str, problem: str | None) -> None:
        """What keeps a duty from going on, for the status; None: nothing does any more."""
        if self._problems.get(duty, UNKNOWN) == problem:
            return
        self._problems[duty] = problem
        text = "; ".join(sorted({why for why in self._problems.values() if why is not None}))
        async with await connect(self.database_url, "counterfoil_app") as conn:
            await deployments.set_problem(conn, post.deployment.id, text or None)

    async def mirror(self, post: Post) -> None:
        """Keep the contract level with the ledger. Raises ChainError."""
        if not self.embedded:
            await make_sure(post.conn, self.node, self.signer, post.deployment.contract)
        mirror: Mirror | None = None
        while True:
            async with self._turn:
                if mirror is None or self._mended:
                    mirror, self._mended = self._mirror(post), False
                done = await mirror.step()
            await self._note(post, "mirror", None)
            if not (done and self.embedded):
                await asyncio.sleep(BUSY_SECONDS[self.embedded] if mirror.busy or done else IDLE_SECONDS)

    def _mirror(self, post: Post) -> Mirror:
        confirmations = self._confirmations
        return Mirror(post.conn, self.node, post.deployment, self.signer, self.offer, confirmations=confirmations)

    @property
    def _confirmations(self) -> int | None:
        """Every block of the EVM in the process is final."""
        return 0 if self.embedded else self.settings.confirmations

    def watching(self, desk: Desk) -> Callable[[Post], Awaitable[None]]:
        """The duty to bring back what holders do on the chain by themselves."""

        async def tell(transfer: Transfer) -> None:
            await desk.heard(RecordChainTransfer(**transfer._asdict()))

        async def watch(post: Post) -> None:
            async with await connect(self.database_url, "counterfoil_app") as conn:
                watcher = Watcher(conn, self.node, post.deployment, tell, confirmations=self._confirmations)
                while True:
                    done = await watcher.step()
                    await self._note(post, "watch", None)
                    if not done:
                        await asyncio.sleep(WATCH_SECONDS)

        return watch

    def reconciling(self, desk: Desk) -> Callable[[Post], Awaitable[None]]:
        """The duty to hold both sides together whenever somebody asks for it."""

        async def serve(post: Post) -> None:
            while True:
                for reconciliation, repair in await desk.waiting(post.deployment.chain):
                    async with await connect(self.database_url, "counterfoil_app") as conn:
                        await self._reconcile(conn, post, desk, reconciliation, repair=repair)
                await asyncio.sleep(DESK_SECONDS)

        return serve

    async def _reconcile(
        self, conn: AsyncConnection, post: Post, desk: Desk, reconciliation: UUID, *, repair: bool
    ) -> None:
        """With ``repair`` what is wrong on our side is mended then, while the mirror stands still."""
        try:
            found = await reconcile(
                conn,
                self.node,
                post.deployment,
                confirmations=self._confirmations,
                on_progress=partial(deployments.note_progress, conn, reconciliation),
            )
            if repair:
                async with self._turn:
                    await replan(conn, post.deployment)
                    await adopt(conn, self.node, post.deployment, confirmations=self._confirmations)
                    self._mended = True
                for transfer in found.transfers:
                    await desk.heard(RecordChainTransfer(**transfer._asdict()))
        except ChainError as error:
            await desk.failed(reconciliation, str(error))
        else:
            await desk.completed(reconciliation, found.report)


def _first_line(errors: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
