"""A server whose clock is set while requests are on their way to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cronguard.core.events import Renewed, Unavailable
from cronguard.stores.contract import Close
from cronguard.stores.redis.scripts import SHA1
from tests import skew
from tests.process.lab import until
from tests.proxy import Proxy
from tests.servers import Server, binary
from tests.stores.redis.helpers import Asker, Memory, claim, why


@pytest.fixture
def clock(tmp_path: Path) -> skew.Skew:
    """The clock of the server."""
    if skew.compiler() is None:
        pytest.skip("there is no C compiler")
    return skew.Skew(skew.build(tmp_path), tmp_path / "skew")


@pytest.fixture
def server(tmp_path: Path, clock: skew.Skew) -> Iterator[Server]:
    """A server by that clock."""
    made = Server(tmp_path, "redis" if binary("redis") else "valkey", ())
    made.env = clock.env
    made.start()
    yield made
    made.stop()


def test_a_server_whose_clock_was_set_back_is_no_older_for_it(
    server: Server, clock: skew.Skew
) -> None:
    """R14, R19: it says that it runs since a moment to come, and gives no lock for so long."""
    met = Memory()
    before, after = [Asker(server.url, claim("job"), met=met) for _ in range(2)]
    before.granted()
    server.restart()
    clock.step(-60_000)
    until("the server to look at its clock", lambda: _age(server) < 0)
    assert "may have lost locks" in why(after.acquire(), Unavailable)
    for each in (before, after):
        each.store.close()


def _age(server: Server) -> int:
    """Return for how many seconds it runs, as it says."""
    info = server.do("INFO", "server")
    assert isinstance(info, dict)
    return int(info["uptime_in_seconds"])


def test_what_is_given_back_too_late_by_a_clock_that_was_set_back(
    server: Server, clock: skew.Skew
) -> None:
    """R19, L20: it takes no later grant, whatever the server's clock says of its deadline."""
    with Proxy(("127.0.0.1", server.port)) as proxy:
        first = Asker(proxy.url, claim("job"))
        first.finish()  # the server knows the script
        one = Asker(proxy.url, claim("job"), 1_500)
        one.granted()
        proxy.keep_back = SHA1["close"].encode()
        undo = Close(None, outcome="", ended_wall=0, forget_slot=True)
        assert isinstance(one.ask(undo), Unavailable)
        grant = one.granted()
        clock.step(-60_000)
        proxy.let_go.set()
        assert proxy.arrived.wait(20)
        assert isinstance(one.renew(grant), Renewed)
        for each in (first, one):
            each.store.close()
