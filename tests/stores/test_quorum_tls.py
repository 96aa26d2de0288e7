"""R23, R19: a quorum of servers that speak nothing but TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cronguard.core.events import Closed, Denied, Granted, Held, Renewed, Unavailable
from cronguard.stores.quorum_history import open_history
from tests.certificates import NAME, Certificates
from tests.servers import FLAVOURS, SYNCED, Server, start_server
from tests.stores.redis.helpers import described, now_ms
from tests.stores.test_quorum import KEY, PATIENCE_S, Run

FLAVOUR = FLAVOURS[0]  # Debian's was built with TLS
Claims = Callable[..., Run]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once for all."""
    return Certificates(tmp_path_factory.mktemp("tls"))


def started(folder: Path, *serving: tuple[str, ...]) -> list[Server]:
    """Start servers that keep what they are told, with these certificates."""
    found: list[Server] = []
    try:
        for number, args in enumerate(serving):
            own = folder / str(number)
            own.mkdir()
            found.append(start_server(own, FLAVOUR, *SYNCED, *args))
    except BaseException:
        for server in found:
            server.stop()
        raise
    return found


@pytest.fixture
def trio(certificates: Certificates, tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers, each of which wants a certificate of ours."""
    servers = started(tmp_path, *[certificates.serving(clients=True)] * 3)
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def run() -> Iterator[Claims]:
    """Make runs of one job; they let go of the store after the test."""
    made: list[Run] = []

    def make(urls: list[str]) -> Run:
        made.append(Run(" ".join(urls), attempt=5_000))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_a_run_and_its_readers_over_tls(
    trio: list[Server], certificates: Certificates, run: Claims
) -> None:
    """R23, R19: granted by all, held for others, renewed, read and given back everywhere."""
    urls = [server.tcp_url + certificates.options("client") for server in trio]
    urls[2] += f"&tls_server_name={NAME}"
    one = run(urls).granted()
    assert isinstance(run(urls).acquire(), Held)
    assert isinstance(one.renew(), Renewed)
    one.heard()
    assert [server.do("EXISTS", KEY) for server in trio] == [1, 1, 1]
    side = open_history(" ".join(urls), "cg")
    try:
        [lease] = side.leases(["job"])["job"]
        assert lease.owner.run_id == one.claim.owner.run_id
        assert side.facts()["quorum"] == {url.partition("?")[0] + "/0": "ok" for url in urls}
        assert isinstance(one.finish(), Closed)
        assert [found["outcome"] for found in side.runs("job", 5)] == ["succeeded"]
    finally:
        side.close()
    one.heard()
    assert [server.do("EXISTS", KEY) for server in trio] == [0, 0, 0]


def test_a_minority_that_is_away_or_came_back(
    trio: list[Server], certificates: Certificates, run: Claims
) -> None:
    """R23, R19: the run goes on without it, and a restarted one gets the lease again."""
    urls = [server.tcp_url + certificates.options("client") for server in trio]
    one = run(urls).granted()
    trio[0].kill()
    event = one.renew()
    assert isinstance(event, Renewed), described(event)
    trio[0].start()
    trio[0].do("DEL", KEY)
    deadline = time.monotonic() + PATIENCE_S
    while not trio[0].do("EXISTS", KEY):
        event = one.renew()
        assert isinstance(event, Renewed), described(event)
        one.heard()
        assert time.monotonic() < deadline
    assert isinstance(one.finish(), Closed)


@pytest.mark.parametrize(
    ("serving", "authority", "todo"),
    [("elsewhere", "ca", "?tls_server_name=NAME"), ("server", "stranger", "?tls_ca=FILE")],
)
def test_who_is_not_who_it_should_be_has_no_vote(
    certificates: Certificates,
    tmp_path: Path,
    run: Claims,
    serving: str,
    authority: str,
    todo: str,
) -> None:
    """R23, R19: one of three hinders nobody; with two no lock is given, and each is named."""
    good, odd = certificates.serving(), certificates.serving(serving)
    servers = started(tmp_path, good, good, odd, odd)
    known = [server.tcp_url + certificates.options() for server in servers[:2]]
    wrong = [server.tcp_url + certificates.options(ca=authority) for server in servers[2:]]
    try:
        one = run([*known, wrong[0]]).granted()
        assert isinstance(run([*known, wrong[0]]).acquire(), Held)
        assert isinstance(one.renew(), Renewed)
        servers[1].kill()
        event = one.renew()
        assert isinstance(event, Unavailable), described(event)
        assert todo in event.why
        servers[1].start()
        deadline = time.monotonic() + PATIENCE_S
        while not isinstance(one.renew(), Renewed):
            assert time.monotonic() < deadline
        assert isinstance(one.finish(), Closed)
        event = run([known[0], *wrong]).acquire()
        assert isinstance(event, Denied), described(event)
        labels = [f"{server.tcp_url}/0" for server in servers[2:]]
        said = "its TLS certificate is not valid: "
        assert event.why.startswith("only 1 of 3 servers do (")
        assert any(f"{', '.join(two)}: {said}" in event.why for two in (labels, labels[::-1]))
        assert todo in event.why
        assert [server.do("DBSIZE") for server in servers[2:]] == [0, 0]
    finally:
        for server in servers:
            server.stop()


def test_what_a_minority_granted_is_given_back(
    trio: list[Server], certificates: Certificates, run: Claims
) -> None:
    """R23, R19: the one good server keeps no lock of a run that was refused."""
    known = trio[0].tcp_url + certificates.options("client")
    wrong = [server.tcp_url + certificates.options("forged") for server in trio[1:]]
    one = run([known, *wrong])
    event = one.acquire()
    while isinstance(event, Unavailable) and "reset" in event.why:  # their last word was lost
        event = one.acquire()
    assert isinstance(event, Denied), described(event)
    one.heard()
    one.store.events(now_ms())
    assert trio[0].do("EXISTS", KEY) == 0
    urls = [server.tcp_url + certificates.options("client") for server in trio]
    assert isinstance(run(urls).acquire(), Granted)
