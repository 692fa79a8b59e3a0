"""The demo as a stranger runs it: a share of a real week, sold and admitted, and the books compared."""

from __future__ import annotations

from pathlib import Path

from tests.server import Server, counterfoil


def test_a_share_of_the_broadway_week_comes_out_equal(tmp_path: Path) -> None:
    played = counterfoil("demo", "--scale", "0.01", environment=Server(tmp_path).environment)
    assert played.returncode == 0, played.stderr
    assert "29 shows" in played.stdout
    assert "equal to the last ticket and cent" in played.stdout
    assert "≠" not in played.stdout
    assert list(tmp_path.iterdir()) == [], "its server is its own"


def test_on_a_running_server_it_needs_an_admin(tmp_path: Path) -> None:
    server = Server(tmp_path, COUNTERFOIL_ADMIN_EMAIL=None, COUNTERFOIL_ADMIN_PASSWORD=None)
    refused = server.command("demo", "--url", server.url, "--scale", "0.01")
    assert refused.returncode == 1
    assert "COUNTERFOIL_ADMIN_EMAIL" in refused.stderr
