"""One server of each flavour for all tests here; each test finds it empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cronguard.core.spec import Claim
from tests.servers import FLAVOURS, Server, binary, start_server
from tests.stores.redis.helpers import ATTEMPT_MS, Asker


@pytest.fixture(scope="session", params=FLAVOURS)
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that tests share."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    server = start_server(tmp_path_factory.mktemp(request.param), request.param)
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, empty, and with its settings and users as they were."""
    client = shared_server.client()
    client.flushall()
    yield shared_server
    client.config_set("maxmemory", "0")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("min-replicas-to-write", "0")
    for user in client.acl_users():
        if user not in ("default", b"default"):
            client.acl_deluser(user if isinstance(user, str) else user.decode())
    client.close()


@pytest.fixture
def own_server(
    shared_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Start servers of the test's own, of the same flavour."""
    started: list[Server] = []

    def start(*args: str) -> Server:
        folder = tmp_path_factory.mktemp("own")
        server = start_server(folder, shared_server.flavour, *args)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def asker(server: Server) -> Iterator[Callable[..., Asker]]:
    """Make askers; they are closed after the test."""
    made: list[Asker] = []

    def make(
        claim: Claim | None = None, url: str | None = None, attempt: int = ATTEMPT_MS
    ) -> Asker:
        made.append(Asker(url or server.url, claim, attempt))
        return made[-1]

    yield make
    for one in made:
        one.store.close()
