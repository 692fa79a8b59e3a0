"""Every projection there is."""

from __future__ import annotations

from projections.account import Accounts
from projections.event import Catalogue
from projections.inventory import Inventory
from projections.kernel import Projection
from projections.order import Orders
from projections.reconciliation import Reconciliations
from projections.ticket import Tickets
from projections.wallet import Wallets

ALL: tuple[Projection, ...] = (Catalogue(), Inventory(), Orders(), Tickets(), Wallets(), Reconciliations(), Accounts())
