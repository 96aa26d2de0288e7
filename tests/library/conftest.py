"""A place for guards: a store of each kind, and the environment that names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process.lab import Lab


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """One server for all tests that do no harm to it."""
    flavour = "redis" if servers.binary("redis") else "valkey"
    server = servers.start_server(tmp_path_factory.mktemp("server"), flavour)
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server that a test may stop."""
    (tmp_path / "server").mkdir()
    flavour = "redis" if servers.binary("redis") else "valkey"
    server = servers.start_server(tmp_path / "server", flavour)
    yield server
    server.stop()


def settle_in(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Have this process's environment say what the lab's does."""
    for name in [name for name in os.environ if name.startswith(("CRONGUARD_", "REDIS_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name in ("HOME", "CRONGUARD_STATE_DIR", "CRONGUARD_STORE"):
        monkeypatch.setenv(name, lab.env[name])
    return lab


@pytest.fixture(params=["sqlite", "redis"])
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A lab on each kind of store, for commands and for guards in this process."""
    if request.param == "sqlite":
        store = f"sqlite://{tmp_path}/state/cronguard.db"
    else:
        server: servers.Server = request.getfixturevalue("shared_server")
        server.client().flushall()
        store = server.url
    place = settle_in(Lab(tmp_path, store), monkeypatch)
    yield place
    left = place.clear()
    assert not left, f"processes left behind: {left}"


@pytest.fixture
def far(
    own_server: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A lab on a server that the test may stop."""
    place = settle_in(Lab(tmp_path, own_server.tcp_url), monkeypatch)
    yield place
    left = place.clear()
    assert not left, f"processes left behind: {left}"
