"""Logs, metrics, traces and error reports. Everything but the logs is off, or costs next to nothing, until asked for."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import sentry_sdk
import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import Counter, Gauge, Histogram
from sentry_sdk.transport import Transport
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SLOW_SECONDS = 1.0
TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT"

REQUESTS = Counter("counterfoil_requests", "Requests by route and status", ["method", "route", "status"])
SECONDS = Histogram(
    "counterfoil_request_seconds",
    "Time to answer",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HEAD = Gauge("counterfoil_ledger_position", "Last position of the ledger")
VIEWS = Gauge("counterfoil_views_position", "Last position that all views reflect")
LAG = Gauge("counterfoil_projection_lag_facts", "Facts a view is behind", ["projection"])
LAG_SECONDS = Gauge("counterfoil_projection_lag_seconds", "Age of the oldest fact a view lacks", ["projection"])
DEAD_LETTERS = Gauge("counterfoil_dead_letters", "Streams set aside by a view", ["projection"])
TREE_LAG = Gauge("counterfoil_tree_lag_facts", "Facts that no signed head covers")
CHAIN_LAG = Gauge("counterfoil_chain_lag_facts", "Facts that a contract has not been told and mined", ["chain"])
CHAIN_LAG_SECONDS = Gauge("counterfoil_chain_lag_seconds", "Age of the oldest of them", ["chain"])
CHAIN_PENDING = Gauge("counterfoil_chain_pending_transactions", "Sent and not mined", ["chain"])
CHAIN_SKIPPED = Gauge("counterfoil_chain_skipped_operations", "Operations that a contract passed over", ["chain"])
CHAIN_BALANCE = Gauge("counterfoil_chain_balance_ether", "What the syncer has for gas", ["chain"])
CHAIN_PROBLEM = Gauge("counterfoil_chain_problem", "1 while a mirror waits for an operator", ["chain"])
RELAY_LAG = Gauge("counterfoil_relay_lag_facts", "Facts that Kafka has not acknowledged")
RELAY_LAG_SECONDS = Gauge("counterfoil_relay_lag_seconds", "Age of the oldest of them")
RELAY_PROBLEM = Gauge("counterfoil_relay_problem", "1 while the relay waits for a broker, or for an operator")
BATCHES = Gauge("counterfoil_commit_batches", "Transactions committed by this process")
COMMANDS = Gauge("counterfoil_commit_requests", "Appends committed by this process")

log = structlog.get_logger()


def tracing() -> bool:
    """Whether traces are wanted; asking for them in every request would cost as much as answering some."""
    return bool(os.environ.get(TRACES))


def set_up(*, log_format: str, sentry_dsn: str | None, service: str) -> None:
    renderer: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if sentry_dsn is not None:
        report_errors(sentry_dsn)
    if tracing():  # FastAPI makes the spans as soon as there is a provider
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - a tenth of a second
            OTLPSpanExporter,
        )

        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


def report_errors(dsn: str, transport: Transport | None = None) -> None:
    """What went wrong and where in the code leaves the house; whom and what it was about stays in it."""
    sentry_sdk.init(
        dsn=dsn,
        transport=transport,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=without_people,
    )


def without_people(event: Any, _: object) -> Any:
    """The text of an error may quote what somebody sent, and a log line the error: they are in our own log, whole."""
    for part in ("breadcrumbs", "extra", "logentry", "message", "user"):
        event.pop(part, None)
    if "request" in event:
        event["request"] = {part: event["request"].get(part) for part in ("method", "url")}
    for error in event.get("exception", {}).get("values", []):
        error.pop("value", None)
    return event


class Observed:
    """Counts and times requests (pure ASGI: it must cost next to nothing)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._children: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        key = (scope["method"], route, status)
        children = self._children.get(key)
        if children is None:
            children = (REQUESTS.labels(scope["method"], route, status), SECONDS.labels(scope["method"], route))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)
        if seconds > SLOW_SECONDS:
            log.warning("slow_request", method=scope["method"], route=route, status=status, seconds=round(seconds, 3))
