"""Settings: each is documented, each bad value is refused in words, and nothing else is read from the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\bCOUNTERFOIL_[A-Z_]+\b")

URL = {"COUNTERFOIL_DATABASE_URL": "postgresql://db.example/counterfoil"}
SECRET = {"COUNTERFOIL_SECRET": "s" * 32}


def read() -> set[str]:
    """By the one module that reads the environment."""
    return set(NAME.findall((ROOT / "api" / "settings.py").read_text()))


def documented() -> set[str]:
    rows = re.findall(r"^\|([^|]+)\|[^|]+\|$", (ROOT / "README.md").read_text().replace("\\|", ""), re.MULTILINE)
    return {name for row in rows for name in NAME.findall(row)}


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    assert read()
    assert read() == documented()


def test_nothing_else_is_read_from_the_environment() -> None:
    for folder in ("api", "adapters", "commands", "domain", "projections"):
        for path in (ROOT / folder).rglob("*.py"):
            assert set(NAME.findall(path.read_text())) <= read(), path


def test_without_any_the_embedded_default_is_meant() -> None:
    settings = Settings.from_environment({})
    assert settings.embedded
    assert (settings.database_url, settings.secret) == (None, None)
    assert (str(settings.data_dir), settings.host, settings.port) == (".counterfoil", "127.0.0.1", 8000)
    assert (settings.admin_email, settings.admin_password) == (None, None)
    assert settings.rate_limits
    assert (settings.cors_origins, settings.sentry_dsn, settings.log_format) == ((), None, "console")


def test_an_empty_setting_is_an_unset_one() -> None:
    assert Settings.from_environment(dict.fromkeys(read(), "")) == Settings.from_environment({})


def test_settings_mean_what_they_say() -> None:
    settings = Settings.from_environment(
        URL
        | SECRET
        | {
            "COUNTERFOIL_DATA_DIR": "/var/lib/counterfoil",
            "COUNTERFOIL_HOST": "::",
            "COUNTERFOIL_PORT": "65535",
            "COUNTERFOIL_ADMIN_EMAIL": "root@example.com",
            "COUNTERFOIL_ADMIN_PASSWORD": "long enough",
            "COUNTERFOIL_RATE_LIMITS": "off",
            "COUNTERFOIL_CORS_ORIGINS": "https://shop.example, http://localhost:3000,",
            "COUNTERFOIL_LOG_FORMAT": "json",
            "COUNTERFOIL_SENTRY_DSN": "https://key@sentry.example/1",
        }
    )
    assert not settings.embedded
    assert settings.database_url == URL["COUNTERFOIL_DATABASE_URL"]
    assert settings.secret == b"s" * 32
    assert (settings.data_dir, settings.host, settings.port) == (Path("/var/lib/counterfoil"), "::", 65535)
    assert (settings.admin_email, settings.admin_password) == ("root@example.com", "long enough")
    assert not settings.rate_limits
    assert settings.cors_origins == ("https://shop.example", "http://localhost:3000")
    assert (settings.log_format, settings.sentry_dsn) == ("json", "https://key@sentry.example/1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("COUNTERFOIL_PORT", value) for value in ("0", "-1", "65536", "80a", "8000.0", " 80", "²", "٣", "9" * 5000)),
        *(("COUNTERFOIL_RATE_LIMITS", value) for value in ("yes", "On", "0", "true")),
        *(("COUNTERFOIL_LOG_FORMAT", value) for value in ("text", "JSON")),
        *(("COUNTERFOIL_PUBLIC_URL", value) for value in ("tickets.example", "https://", "https://bücher.example")),
        ("COUNTERFOIL_SECRET", "s" * 31),
        ("COUNTERFOIL_ADMIN_EMAIL", "root@example.com"),
        ("COUNTERFOIL_ADMIN_PASSWORD", "long enough"),
        ("COUNTERFOIL_CORS_ORIGINS", "shop.example"),
        ("COUNTERFOIL_CORS_ORIGINS", "https://shop.example,javascript:alert(1)"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(("email", "password"), [("root", "long enough"), ("root@example.com", "short")])
def test_an_admin_who_could_not_have_registered_is_refused(email: str, password: str) -> None:
    with pytest.raises(SettingsError, match="COUNTERFOIL_ADMIN_"):
        Settings.from_environment({"COUNTERFOIL_ADMIN_EMAIL": email, "COUNTERFOIL_ADMIN_PASSWORD": password})


def test_a_database_of_ones_own_needs_a_secret_of_ones_own() -> None:
    with pytest.raises(SettingsError, match="COUNTERFOIL_SECRET is required"):
        Settings.from_environment(URL)


def test_a_refusal_never_repeats_a_secret() -> None:
    for name in ("COUNTERFOIL_SECRET", "COUNTERFOIL_ADMIN_PASSWORD"):
        with pytest.raises(SettingsError) as refusal:
            Settings.from_environment({"COUNTERFOIL_ADMIN_EMAIL": "root@example.com", name: "hunter2"})
        assert "hunter2" not in str(refusal.value)
