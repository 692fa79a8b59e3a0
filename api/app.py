"""The HTTP application. `create_app` is what servers are pointed at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from api import account, chain, errors, event, ledger, operations, order, privacy, proofs, sales, ticket, wallet
from api.bootstrap import Application
from api.observability import Observed
from api.openapi import ProblemDetails
from api.protection import Protected

DESCRIPTION = """A ticket ledger. Commands append facts; everything else is read from them.

Answers to commands carry `Ledger-Position`; send it back with a GET to read your own writes. `Idempotency-Key` makes
any command safe to repeat. `as_of` (a position or an instant) asks what was true then. Errors are RFC 9457 problems."""


def create_app(application: Application) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with application:
            app.state.application = application
            yield

    app = FastAPI(
        title="Counterfoil",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    errors.install(app)
    for module in (order, ticket, event, account, privacy, wallet, sales, ledger, proofs, chain, operations):
        # Not `include_router`, whose nesting is walked for every request. The busiest are matched first.
        app.router.routes.extend(module.router.routes)
    app.add_middleware(Protected)
    if application.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(application.settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Ledger-Position", "If-Match"],
            expose_headers=["Ledger-Position", "Idempotent-Replayed", "ETag", "Retry-After"],
        )
    app.add_middleware(Observed)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        app.openapi_schema = schema
    return app.openapi_schema
