"""What operators and their tools ask for: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse

from api import gauges
from api.errors import problem
from api.openapi import problem_response
from api.types import to_json

router = APIRouter(tags=["running"])


@router.get("/healthz", operation_id="healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz", operation_id="readyz", responses={503: problem_response(503)})
async def ready(request: Request) -> Response:
    """The database answers and the views keep up."""
    app = request.app.state.application
    try:
        position, _ = await app.ledger_head()
    except Exception as error:  # noqa: BLE001 - whatever it is, we are not ready
        detail = f"the database does not answer: {type(error).__name__}"
        return problem(503, "unavailable", detail, headers={"Retry-After": "1"})
    lag = max(0, position - app.view_positions.position)
    return Response(
        to_json({"status": "ready", "position": position, "views_behind": lag}), media_type="application/json"
    )


@router.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    await gauges.refresh(request.app.state.application)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
