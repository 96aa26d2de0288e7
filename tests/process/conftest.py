"""Fixtures for tests of the real command on real stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process.lab import Lab

NOBODY = 65534


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """One server for all tests that do no harm to it."""
    flavour = "redis" if servers.binary("redis") else "valkey"
    server = servers.start_server(tmp_path_factory.mktemp("server"), flavour)
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A server that a test may stop, fill, cut off or kill."""
    flavour = "redis" if servers.binary("redis") else "valkey"
    folder = tmp_path / "server"
    folder.mkdir()
    server = servers.start_server(folder, flavour)
    yield server
    server.stop()


def finish(lab: Lab) -> None:
    """End what is left, and fail if cronguard left it."""
    left = lab.clear()
    assert not left, f"processes left behind: {left}"


@pytest.fixture(params=["sqlite", "redis"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab on each kind of store."""
    if request.param == "sqlite":
        place = Lab(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    else:
        server = request.getfixturevalue("shared_server")
        server.client().flushall()
        place = Lab(tmp_path, server.url)
    yield place
    finish(place)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Lab]:
    """A lab on the embedded store, for what does not depend on the store."""
    place = Lab(tmp_path, f"sqlite://{tmp_path}/state/cronguard.db")
    yield place
    finish(place)


@pytest.fixture
def remote(tmp_path: Path, own_server: servers.Server) -> Iterator[Lab]:
    """A lab on a server of its own, reached by its unix socket."""
    place = Lab(tmp_path, own_server.url)
    yield place
    own_server.resume()
    finish(place)


@pytest.fixture(params=["root", "user"])
def any_user(request: pytest.FixtureRequest) -> int | None:
    """None for whoever runs the tests, and an ordinary user where root can become one."""
    if request.param == "root":
        return None
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return NOBODY
