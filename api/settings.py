"""Settings, from the environment only. Each is documented in the README; a test keeps that true."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECRET_LENGTH_MIN = 32


class SettingsError(ValueError):
    """A setting is missing or cannot be meant. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str | None
    data_dir: Path
    host: str
    port: int
    secret: bytes | None
    admin_email: str | None
    admin_password: str | None
    rate_limits: bool
    cors_origins: tuple[str, ...]
    sentry_dsn: str | None
    log_format: str

    @property
    def embedded(self) -> bool:
        return self.database_url is None

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises SettingsError."""
        database_url = env.get("COUNTERFOIL_DATABASE_URL") or None
        secret = env.get("COUNTERFOIL_SECRET") or None
        if database_url is not None and secret is None:
            raise SettingsError("COUNTERFOIL_SECRET is required when COUNTERFOIL_DATABASE_URL is set")
        if secret is not None and len(secret) < SECRET_LENGTH_MIN:
            raise SettingsError(f"COUNTERFOIL_SECRET needs at least {SECRET_LENGTH_MIN} characters")
        rate_limits = env.get("COUNTERFOIL_RATE_LIMITS", "on")
        if rate_limits not in ("on", "off"):
            raise SettingsError("COUNTERFOIL_RATE_LIMITS is either on or off")
        log_format = env.get("COUNTERFOIL_LOG_FORMAT", "console")
        if log_format not in ("console", "json"):
            raise SettingsError("COUNTERFOIL_LOG_FORMAT is either console or json")
        email, password = env.get("COUNTERFOIL_ADMIN_EMAIL"), env.get("COUNTERFOIL_ADMIN_PASSWORD")
        if bool(email) != bool(password):
            raise SettingsError("COUNTERFOIL_ADMIN_EMAIL and COUNTERFOIL_ADMIN_PASSWORD go together")
        return cls(
            database_url=database_url,
            data_dir=Path(env.get("COUNTERFOIL_DATA_DIR") or ".counterfoil"),
            host=env.get("COUNTERFOIL_HOST") or "127.0.0.1",
            port=_port(env.get("COUNTERFOIL_PORT") or "8000"),
            secret=secret.encode() if secret else None,
            admin_email=email or None,
            admin_password=password or None,
            rate_limits=rate_limits == "on",
            cors_origins=tuple(o.strip() for o in env.get("COUNTERFOIL_CORS_ORIGINS", "").split(",") if o.strip()),
            sentry_dsn=env.get("COUNTERFOIL_SENTRY_DSN") or None,
            log_format=log_format,
        )


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SettingsError(f"COUNTERFOIL_PORT is not a port: {text!r}")
    return int(text)
