"""Wallets: the addresses on a chain that people have proved to be theirs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor

from api.call import AsOfInViews, Call
from api.policy import SIGNED_IN
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Answer, Body, Cursor, Limit, Page, WalletAddress, from_cursor, to_cursor, to_json
from commands.wallet import ChallengeWallet, LinkWallet, UnlinkWallet, challenge_wallet
from domain.wallet import Wallet
from projections import wallet as wallets

router = ContractRouter("wallets")

MESSAGE_LENGTH_MAX = 4_000
SIGNATURE_LENGTH_MAX = 200
CHAIN_ID_MAX = 2**63 - 1


class AddressConvertor(Convertor[str]):
    """What may be an address: `challenges` is none, so that no path means two things."""

    regex = "0x[^/]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("address", AddressConvertor())


class ChallengeRequest(Body):
    address: WalletAddress
    chain_id: Annotated[int | None, Field(ge=1, le=CHAIN_ID_MAX, strict=True)] = None
    """The chain that the wallet is to show; left out: ours."""


class LinkRequest(Body):
    message: Annotated[str, Field(max_length=MESSAGE_LENGTH_MAX)]
    """A challenge, as it was given."""
    signature: Annotated[str, Field(max_length=SIGNATURE_LENGTH_MAX)]
    """Of the wallet over it, as `personal_sign` makes it (ERC-191): 65 bytes in hexadecimal."""


class ChallengeAnswer(Answer):
    message: str
    nonce: str
    expires_at: datetime


class WalletAnswer(Answer):
    address: str
    account_id: UUID
    linked_at: datetime


def wallet_json(wallet: Wallet) -> bytes:
    return to_json(document(wallet))


def document(wallet: Wallet) -> dict[str, object]:
    return {"address": wallet.address, "account_id": wallet.account_id, "linked_at": wallet.linked_at}


def _nothing(_: Wallet) -> bytes:
    return b""


@router.on("POST", "/v1/wallets/challenges", policy=SIGNED_IN, returns=ChallengeAnswer, status=201)
async def challenge(body: ChallengeRequest, call: Call) -> Response:
    """A message of ERC-4361 for the wallet to sign, good for ten minutes and for one use."""
    command = ChallengeWallet(address=body.address, chain_id=body.chain_id, account_id=call.user_id)
    ledger = call.ledger("ChallengeWallet")
    given = await challenge_wallet(command, ledger=ledger, proofs=call.app.wallet_proofs, clock=call.app.clock)
    return _json(to_json(given._asdict()), 201)


@router.on("POST", "/v1/wallets", policy=SIGNED_IN, returns=WalletAnswer, status=201)
async def link_wallet(body: LinkRequest, call: Call) -> Response:
    """Tickets that are in the wallet already, and have no known holder, become the caller's within a moment."""
    command = LinkWallet(message=body.message, signature=body.signature, account_id=call.user_id)
    return await call.send(command, answer=wallet_json, status=201)


@router.on("GET", "/v1/wallets", policy=SIGNED_IN, returns=Page[WalletAnswer])
async def list_wallets(call: Call, as_of: AsOfInViews, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None) -> Response:
    """The caller's wallets (now or as of then), latest linked first."""
    start = from_cursor(cursor, int)
    before = start[0] if start else None
    if as_of is None:
        rows = await wallets.of_account(call.app.views, call.user_id, before=before, limit=limit + 1)
    else:
        rows = await wallets.of_account_as_of(call.app.views, call.user_id, as_of, before=before, limit=limit + 1)
    found = await call.fold_all(Wallet, [wallet_id for wallet_id, _ in rows[:limit]], as_of)
    items = [document(wallet) for wallet in found if wallet.account_id == call.user_id]
    following = to_cursor(rows[limit - 1][1]) if len(rows) > limit else None
    return _json(to_json({"items": items, "next_cursor": following}))


@router.on("DELETE", "/v1/wallets/{address:address}", policy=SIGNED_IN, status=204)
async def unlink_wallet(address: WalletAddress, call: Call) -> Response:
    """The tickets in it stay the caller's; what comes into it from now on has no known holder."""
    return await call.send(UnlinkWallet(address=address, account_id=call.user_id), answer=_nothing, status=204)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
