"""The real server with two routes more: beside each command that is measured, a no-op that reads the same body.

``python -m tests.benchmarks.server`` is ``counterfoil serve`` in every other respect, its worker included unless
``--no-worker`` is said. It ends when whoever started it does.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from fastapi import FastAPI

from api import app
from api.bootstrap import Application
from api.children import die_with_parent
from api.cli import serving
from api.order import OrderRequest
from api.ticket import CheckInRequest


async def no_order(body: OrderRequest) -> dict[str, str]:
    return {"event_id": str(body.event_id), "status": "nothing"}


async def no_check_in(body: CheckInRequest) -> dict[str, str]:
    return {"gate": body.gate, "status": "nothing"}


def create_app(application: Application) -> FastAPI:
    """Plain FastAPI routes behind the same middlewares as the real ones, and found before them."""
    served = app.create_app(application)
    real = list(served.router.routes)
    served.add_api_route("/no-op/orders", no_order, methods=["POST"])
    served.add_api_route("/no-op/check-ins", no_check_in, methods=["POST"])
    served.router.routes[:] = [*served.router.routes[len(real) :], *real]
    return served


if __name__ == "__main__":
    die_with_parent()
    with patch.object(serving, "create_app", create_app):
        serving.serve(with_worker="--no-worker" not in sys.argv, processes=1)
