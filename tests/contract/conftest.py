"""Every store, one after the other; each test finds it empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.harness import Harness, RedisHarness, Run, SqliteHarness, Steering, new_claim
from tests.servers import Server, binary, start_server

NewRun = Callable[..., Run]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """One server of each flavour that is asked for, shared by all tests."""
    started: dict[str, Server] = {}

    def get(flavour: str) -> Server:
        if binary(flavour) is None:
            pytest.skip(f"no {flavour} server is installed")
        if flavour not in started:
            started[flavour] = start_server(tmp_path_factory.mktemp(flavour), flavour)
        return started[flavour]

    yield get
    for server in started.values():
        server.stop()


@pytest.fixture(params=["sqlite", "redis", "valkey"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[str], Server]
) -> Iterator[Harness]:
    """A store, in a namespace of the test's own."""
    harness: Harness
    if request.param == "sqlite":
        harness = SqliteHarness(tmp_path)
    else:
        harness = RedisHarness(servers(request.param))
    yield harness
    harness.stop()


@pytest.fixture
def run(store: Harness) -> Iterator[NewRun]:
    """Make runs; they let go of the store after the test."""
    made: list[Run] = []

    def make(job: str = "backup", **more: object) -> Run:
        claim = new_claim(job, str(more.pop("namespace", store.namespace)), **more)
        made.append(Run(store.open(claim), claim))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def history(store: Harness) -> Iterator[Steering]:
    """The history side of the store."""
    side = store.history()
    yield side
    side.close()
