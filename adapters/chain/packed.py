"""What one side says of a token as one number, packed as the contract's `state` packs it.

Twenty thousand of them are compared in the time that it takes to build a few hundred models. 0: there is no such token.
"""

from __future__ import annotations

from domain.reconciliation import TokenState

OWNER = (1 << 160) - 1
VERSION = 0xFFFF << 160
ISSUED, CHECKED_IN, VOIDED, IN_CUSTODY = (1 << bit for bit in range(176, 180))
NOTHING = 0


def pack(*, custodian: int, wallet: str | None, version: int, checked_in: bool = False, voided: bool = False) -> int:
    """``custodian`` is the contract's own address: it is the owner of what is in no wallet."""
    owner = custodian | IN_CUSTODY if wallet is None else int(wallet, 16)
    flags = ISSUED | (CHECKED_IN if checked_in else 0) | (VOIDED if voided else 0)
    return owner | version << 160 | flags


def unpacked(state: int) -> TokenState:
    if not state & ISSUED:
        return TokenState(issued=False)
    return TokenState(
        issued=True,
        wallet=None if state & IN_CUSTODY else f"0x{state & OWNER:040x}",
        version=(state & VERSION) >> 160,
        checked_in=bool(state & CHECKED_IN),
        voided=bool(state & VOIDED),
    )


def packed(state: TokenState, *, custodian: int) -> int:
    if not state.issued:
        return NOTHING
    return pack(custodian=custodian, **state.model_dump(exclude={"issued"}))


def difference(one: int, other: int) -> tuple[str, ...]:
    """In what two states of an issued token are not the same."""
    parts = {"owner": OWNER | IN_CUSTODY, "version": VERSION, "checked_in": CHECKED_IN, "void": VOIDED}
    return tuple(name for name, bits in parts.items() if (one ^ other) & bits)
