"""Who may call a route. Every route declares it; a test goes through all of them with every role."""

from __future__ import annotations

from dataclasses import dataclass

from domain.account import Role


@dataclass(frozen=True, slots=True)
class Policy:
    """``anyone``: no token needed. Otherwise a caller with one of ``roles`` (empty: any signed-in user)."""

    name: str
    anyone: bool = False
    roles: frozenset[Role] = frozenset()


ANYONE = Policy("anyone", anyone=True)
SIGNED_IN = Policy("signed-in")
ORGANIZER = Policy("organizer", roles=frozenset({Role.ORGANIZER}))
ADMIN = Policy("admin", roles=frozenset({Role.ADMIN}))
AT_THE_GATE = Policy("gate", roles=frozenset({Role.ORGANIZER, Role.GATE}))
LEDGER_READER = Policy("ledger-reader", roles=frozenset({Role.ANALYST, Role.AUDITOR, Role.ADMIN}))

CHAIN_AUDITOR = Policy("chain-auditor", roles=frozenset({Role.AUDITOR, Role.ADMIN}))

OVERSEERS = LEDGER_READER.roles
"""Roles that may read, never change, what belongs to others."""
