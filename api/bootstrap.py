"""The composition root: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

from adapters import app_pool
from adapters.audit import Audit, audit_ledger
from adapters.backups import (
    BackupError,
    Following,
    Restored,
    Wish,
    dump_ledger,
    is_database,
    restore_backup,
)
from adapters.chain.node import ChainError
from adapters.codes import Ed25519TicketCodes
from adapters.embedded import EmbeddedPostgres, keep_secret
from adapters.export_files import DirectoryTakenError, Form, ParquetMissingError
from adapters.fact_reader import LedgerGapError
from adapters.follower import Followed
from adapters.housekeeping import tidy
from adapters.inventory import PooledInventory, Taken
from adapters.leader import TIMEKEEPER, leadership
from adapters.ledger import PostgresLedger
from adapters.linked_wallets import LedgerLinkedWallets
from adapters.passwords import ArgonPasswords
from adapters.payments import SandboxPayments
from adapters.positions import Positions
from adapters.postgres import DatabaseUnfitError, expect_release, migrate
from adapters.projector import Projector
from adapters.reader import Found, LedgerReader, StoredFact, Wanted
from adapters.rebuild import Rebuild, RebuildReport, RebuildRunningError
from adapters.replays import Replay, ReplayRefusedError, Replays
from adapters.sealing import Sealer, derive
from adapters.tokens import JwtTokens
from adapters.tree import TreeBuilder, rotate_head_key
from adapters.tree_export import export_ledger, exportable
from adapters.tree_reader import NotInTreeError, TreeReader
from adapters.vault import LocalMasterKey, PostgresVault
from adapters.views import PostgresViews
from adapters.wallet_proofs import Erc4361Proofs
from adapters.what_if import WhatIf, decide_again
from api.idempotency import InFlight
from api.limits import RateLimits
from api.settings import Settings
from commands import account, event, order, privacy, reconciliation, ticket, wallet
from commands.kernel import Answer, Command, Handler, Key, KeyReusedError, Metadata, decide, new_metadata
from commands.kernel import Ledger as CommandLedger
from commands.order import PaymentProvider
from domain.account import EmailTakenError, Role
from domain.kernel import Aggregate, utc_now
from domain.seat import Seat
from domain.ticket import Ticket, TicketStatus
from projections import ticket as ticket_view
from projections.registry import ALL

if TYPE_CHECKING:
    from adapters.chain.station import Station
    from adapters.kafka.clients import KafkaSettings

A = TypeVar("A", bound=Aggregate)


class Application:
    """Everything one process needs to serve commands and queries. An async context manager."""

    def __init__(self, settings: Settings, *, database_url: str, secret: bytes) -> None:
        self.settings = settings
        self.database_url = database_url
        self.secret = secret
        self.clock = utc_now
        self.sealer = Sealer(secret)
        self.store = PostgresLedger(database_url, self.sealer)
        self.view_positions = Positions("the views have")
        self.tree_sizes = Positions("the signed heads have")
        self.store.follower.on_view_position = self.view_positions.announce
        self.store.follower.on_view_reset = self.view_positions.reset
        self.store.follower.on_tree_size = self.tree_sizes.announce
        self._pool = app_pool.make(database_url)
        self.vault = PostgresVault(self._pool, LocalMasterKey(secret))
        self._reader = LedgerReader(self._pool, self.vault.reveal_all)
        self.tree = TreeReader(self._pool)
        self.views = PostgresViews(database_url)
        self._linked = LedgerLinkedWallets(self.views, self.view_positions, self._reader)
        self.passwords = ArgonPasswords(self._pool)
        self.tokens = JwtTokens(self._pool, secret, self.clock)
        self.codes = Ed25519TicketCodes(secret)
        self.wallet_proofs = Erc4361Proofs(secret, settings.public_url, settings.chain_id)
        self.limits = RateLimits(on=settings.rate_limits)
        self.in_flight = InFlight()
        self.providers: dict[str, PaymentProvider] = {"sandbox": SandboxPayments()}
        self.inventory = PooledInventory(self.store.follower, self._taken_of_tier, self._load_tickets)
        self.handlers = self._handlers()

    def _handlers(self) -> dict[type[Command], Handler]:
        clock = self.clock
        return {
            account.Register: partial(account.register, passwords=self.passwords, vault=self.vault, clock=clock),
            privacy.EraseAccount: partial(privacy.erase_account, vault=self.vault, linked=self._linked, clock=clock),
            account.SetRoles: partial(account.set_roles, clock=clock),
            event.CreateEvent: partial(event.create_event, clock=clock),
            event.ChangeEvent: partial(event.change_event, clock=clock),
            event.PublishEvent: partial(event.publish_event, clock=clock),
            event.CancelEvent: partial(event.cancel_event, clock=clock),
            event.PostponeEvent: partial(event.postpone_event, clock=clock),
            event.ArchiveEvent: partial(event.archive_event, clock=clock),
            event.AddTier: partial(event.add_tier, clock=clock),
            event.ReleaseTickets: partial(event.release_tickets, clock=clock),
            event.StaffGates: partial(event.staff_gates, clock=clock),
            event.SetResaleRules: partial(event.set_resale_rules, clock=clock),
            event.KeepTime: partial(event.keep_time, clock=clock),
            order.PlaceOrder: partial(order.place_order, inventory=self.inventory, clock=clock),
            order.PayOrder: partial(order.pay_order, providers=self.providers, clock=clock),
            order.CancelOrder: partial(order.cancel_order, clock=clock),
            order.ExpireOrder: partial(order.expire_order, clock=clock),
            order.RefundOrder: partial(order.refund_order, providers=self.providers, clock=clock),
            ticket.ClaimTicket: partial(ticket.claim_ticket, vault=self.vault, clock=clock),
            order.CorrectOrder: partial(order.correct_order, clock=clock),
            ticket.TransferTicket: partial(ticket.transfer_ticket, clock=clock),
            ticket.AcceptTransfer: partial(ticket.accept_transfer, clock=clock),
            ticket.DeclineTransfer: partial(ticket.decline_transfer, clock=clock),
            ticket.DeliverTicket: partial(ticket.deliver_ticket, clock=clock),
            ticket.ReturnTicket: partial(ticket.return_ticket, clock=clock),
            ticket.RecordChainTransfer: partial(ticket.record_chain_transfer, clock=clock),
            ticket.IdentifyHolder: partial(ticket.identify_holder, clock=clock),
            ticket.RevokeTicket: partial(ticket.revoke_ticket, clock=clock),
            reconciliation.RequestReconciliation: partial(reconciliation.request_reconciliation, clock=clock),
            reconciliation.CompleteReconciliation: partial(reconciliation.complete_reconciliation, clock=clock),
            reconciliation.FailReconciliation: partial(reconciliation.fail_reconciliation, clock=clock),
            ticket.CheckIn: partial(ticket.check_in, codes=self.codes, clock=clock),
            wallet.LinkWallet: partial(wallet.link_wallet, proofs=self.wallet_proofs, vault=self.vault, clock=clock),
            wallet.UnlinkWallet: partial(wallet.unlink_wallet, clock=clock),
        }

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=True, timeout=app_pool.OPEN_SECONDS_MAX)
        await self.views.start()
        await self.store.start()
        await self._ensure_admin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.store.stop()
        await self.views.stop()
        self.passwords.close()
        await self._pool.close()

    # -- Commands that no request asked for -----------------------------------------

    async def execute(self, command: Command, *, actor: str, causation_id: str | None = None) -> Any:
        """Have a command decided and appended on behalf of the system."""
        metadata: Metadata = new_metadata(actor, type(command).__name__, causation_id=causation_id)
        return await decide(self.handlers[type(command)], command, CommandLedger(self.store, metadata))

    def system_ledger(self, command: str) -> CommandLedger:
        """The ledger as the operator sees it."""
        return CommandLedger(self.store, new_metadata("system:operator", command))

    async def make_admin(self, email: str, password: str, *, replace_password: bool = False) -> bool:
        """Register an admin unless the address is taken; whether it was made."""
        roles = frozenset({Role.ATTENDEE, Role.ADMIN})
        try:
            command = account.Register(email=email, password=password, name="Admin", roles=roles)
            await self.execute(command, actor="system:bootstrap")
        except EmailTakenError:
            if replace_password:
                known = await account.account_of(email, ledger=self.system_ledger("MakeAdmin"))
                await self.passwords.keep(known.id, password)
            return False
        return True

    async def _ensure_admin(self) -> None:
        if self.settings.admin_email is not None and self.settings.admin_password is not None:
            await self.make_admin(self.settings.admin_email, self.settings.admin_password)

    async def finish_erasures(self) -> int:
        """End those that were cut off."""
        ledger = self.system_ledger("FinishErasures")
        return await privacy.finish_erasures(ledger=ledger, vault=self.vault, linked=self._linked, clock=self.clock)

    async def tidy(self) -> int:
        """Forget what is kept only for a while."""
        return await tidy(self._pool)

    # -- Reads --------------------------------------------------------------------------

    async def load_as_of(self, kind: type[A], stream_ids: Sequence[UUID], position: int) -> list[A]:
        return await self.store.loader.load_as_of(kind, stream_ids, position)

    async def answer_to(self, key: Key) -> Answer | None:
        """What was answered to a request with this key. Raises KeyReusedError when it was another request."""
        async with self._pool.connection() as conn:
            answer = await self.store.committer.read_answer(conn.cursor(binary=True), key)
        if answer is True:
            raise KeyReusedError
        return answer or None

    async def head(self) -> int:
        return (await self._reader.head())[0]

    async def ledger_head(self, as_of: int | None = None) -> tuple[int, datetime | None]:
        """The last position, by then or now, and when it was recorded."""
        if as_of is None:
            return await self._reader.head()
        last = await self._reader.page(after=as_of - 1, limit=1) if as_of > 0 else []
        return as_of, last[0].at if last else None

    async def position_at(self, instant: datetime) -> int:
        return await self._reader.position_at(instant)

    async def ledger_page(self, *, after: int, limit: int) -> list[StoredFact]:
        return await self._reader.page(after=after, limit=limit)

    async def find_facts(self, wanted: Wanted, *, after: int, until: int, limit: int) -> Found:
        return await self._reader.find(wanted, after=after, until=until, limit=limit)

    async def history(self, stream_id: UUID, *, after: int, limit: int) -> list[StoredFact]:
        return await self._reader.history(stream_id, after=after, limit=limit)

    async def _taken_of_tier(self, event_id: UUID, tier_id: UUID, position: int) -> list[Taken]:
        await self.view_positions.wait_for(position)
        rows = await ticket_view.taken_of_tier(self.views, event_id, tier_id)
        return [Taken(_place(row), row.ticket_id, row.version, row.status == TicketStatus.AVAILABLE) for row in rows]

    async def _load_tickets(self, ticket_ids: Sequence[UUID]) -> list[Ticket]:
        return await self.store.load(Ticket, ticket_ids)


def _place(row: ticket_view.Taken) -> int | str:
    """A serial, or a seat's key."""
    if row.serial is not None:
        return row.serial
    return Seat(section=row.section or "", row=row.row_label or "", number=row.number or "").key


def prepare(settings: Settings, *, reading: bool = False) -> tuple[str, bytes, EmbeddedPostgres | None]:
    """Have a database of this release and the secret: ``(url, secret, the embedded server if there is one)``.

    ``reading``: one of another release is refused, not migrated. Raises DatabaseUnfitError.
    """
    if settings.database_url is not None:
        assert settings.secret is not None
        (expect_release if reading else migrate)(settings.database_url)
        return settings.database_url, settings.secret, None
    server = EmbeddedPostgres(settings.data_dir)
    url = server.start_fit(partial(expect_release, begin=True) if reading else migrate)
    return url, settings.secret or keep_secret(settings.data_dir), server


def timekeeper_leadership(app: Application) -> AbstractAsyncContextManager[None]:
    """Wait to be the one timekeeper, and be it until the end of the block."""
    return leadership(app.database_url, TIMEKEEPER)


def stations(app: Application, *urls: str) -> list[Station]:
    """One for each chain that the ledger is to be mirrored to, or for those at these addresses."""
    from adapters.chain.signer import Signer  # noqa: PLC0415 - an EVM takes a second to import; few processes need one
    from adapters.chain.station import ChainSettings, Station  # noqa: PLC0415

    settings = app.settings
    keys = ChainSettings(
        chain_id=settings.chain_id,
        key=bytes.fromhex(settings.chain_key) if settings.chain_key else derive(app.secret, "chain syncer"),
        admin=Signer(derive(app.secret, "chain admin")).address,
        confirmations=settings.chain_confirmations,
        fee_gwei_max=settings.chain_fee_gwei_max,
        base_uri=f"{settings.public_url}/v1/chains/{{chain_id}}/tokens/",
    )
    configured: tuple[str | None, ...] = settings.chain_urls if settings.chain_urls is not None else (None,)
    return [Station(app.database_url, url, keys) for url in urls or configured]


def contract_source() -> str:
    """The compiler's input for the contract, as block explorers want it."""
    from contracts import verification_input  # noqa: PLC0415

    return verification_input()


def run_projectors(url: str, settings: Settings, stop: threading.Event) -> None:
    """Keep all views up to date until told to stop; those that are fed from Kafka only while their feed does not."""
    fed = [projection.name for projection in ALL if projection.by_stream] if settings.projectors == "kafka" else []
    Projector(url, ALL, fed=fed).run(stop)


def run_feed(url: str, settings: Settings, secret: bytes, stop: threading.Event) -> None:
    """Bring views forward from Kafka, as one of however many do, until told to stop."""
    from adapters.kafka.feed import Feed  # noqa: PLC0415 - half a second, which few processes have use for

    Feed(url, _brokers(settings), secret, [projection for projection in ALL if projection.by_stream]).run(stop)


def grow_tree(url: str, secret: bytes, stop: threading.Event) -> None:
    """Keep the Merkle tree up with the ledger, and its heads signed, until told to stop."""
    TreeBuilder(url, secret).run(stop)


def run_relay(url: str, settings: Settings, secret: bytes, stop: threading.Event) -> None:
    """Tell Kafka of the ledger until told to stop."""
    from adapters.kafka.relay import Relay  # noqa: PLC0415 - as above

    Relay(url, _brokers(settings), secret if settings.projectors == "kafka" else None).run(stop)


def _brokers(settings: Settings) -> KafkaSettings:
    from adapters.kafka.clients import Access, KafkaSettings  # noqa: PLC0415 - as above

    name, password = settings.kafka_user or (None, None)
    access = Access(settings.kafka_tls, settings.kafka_ca_file, name, password, settings.kafka_mechanism)
    return KafkaSettings(settings.kafka_bootstrap, settings.kafka_partitions, settings.kafka_replication, access)


def relay_again(url: str, after: int | None) -> bool:
    """Have whoever relays look what the topics lack, all or after a position; False: the ledger does not go so far."""
    from adapters.kafka.cursor import begin_again  # noqa: PLC0415

    return begin_again(url, after)


def rebuild_views(url: str, names: Sequence[str], show: Callable[[int, int], None]) -> list[RebuildReport]:
    """Build views anew beside those in use. Raises LookupError for a name that no view has."""
    known = {projection.name: projection for projection in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LookupError(f"there is no view {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return Rebuild(url, [known[name] for name in names] or list(ALL), on_progress=show).run()


def replays_of(url: str) -> Replays:
    """The read side as of the past, in schemas that are kept."""
    return Replays(url, ALL)


__all__ = [
    "Application",
    "Audit",
    "BackupError",
    "ChainError",
    "DatabaseUnfitError",
    "DirectoryTakenError",
    "Followed",
    "Following",
    "Form",
    "Found",
    "LedgerGapError",
    "NotInTreeError",
    "ParquetMissingError",
    "RebuildReport",
    "RebuildRunningError",
    "Replay",
    "ReplayRefusedError",
    "Replays",
    "Restored",
    "StoredFact",
    "Wanted",
    "WhatIf",
    "Wish",
    "audit_ledger",
    "contract_source",
    "decide_again",
    "dump_ledger",
    "export_ledger",
    "exportable",
    "grow_tree",
    "is_database",
    "prepare",
    "rebuild_views",
    "relay_again",
    "replays_of",
    "restore_backup",
    "rotate_head_key",
    "run_feed",
    "run_projectors",
    "run_relay",
    "stations",
    "timekeeper_leadership",
]
