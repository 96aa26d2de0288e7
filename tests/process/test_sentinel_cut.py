"""R16: a master cut off from the sentinels, which name another, with runs on either side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import finish
from tests.process.groups import HEIR, JOB, PATIENCE_S, left, lives_of, telling, until_renewed
from tests.process.lab import Lab, until
from tests.process.networks import Network
from tests.process.places import root
from tests.process.witness import TTL, Guarded, assert_no_overlap
from tests.sentinels import Watch, start_watch
from tests.servers import FLAVOURS, Server, binary

pytestmark = pytest.mark.variant

NEAR, FAR = "10.0.0.1", "10.0.0.2"
CUT = ("iptables -A INPUT -i wire -j DROP", "iptables -A OUTPUT -o wire -j DROP")


class Placed(Server):
    """A server in a network."""

    network: Network

    def start(self) -> None:
        """Start there."""
        with self.network.inside():
            super().start()


@pytest.fixture
def watch(tmp_path: Path, network: Network, other_network: Network) -> Iterator[Watch]:
    """The master alone in one network, its replicas and the sentinels in the other."""
    network.wire_to(other_network, NEAR, FAR)
    made: list[Server] = []

    def place(folder: Path, flavour: str, args: tuple[str, ...]) -> Server:
        server = Placed(folder, flavour, args, FAR if made else NEAR)
        server.network = other_network if made else network
        made.append(server)
        return server

    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    open_to_all = ("--protected-mode", "no")
    with other_network.inside():
        started = start_watch(
            tmp_path / "watch", flavour, *open_to_all, make=place, watchers_host=lambda: FAR
        )
    yield started
    started.stop()


@pytest.fixture
def wide(watch: Watch, tmp_path: Path) -> Iterator[Lab]:
    """A lab on them, to be entered from either network."""
    place = Lab(tmp_path, watch.url)
    yield place
    finish(place)


def on_all_replicas(watch: Watch) -> bool:
    """Tell whether all that may be the heir have the lease."""
    return all(left(server) > 0 for server in watch.replicas())


@root
@pytest.mark.debian
def test_a_master_that_only_the_sentinels_cannot_reach_is_left(
    wide: Lab, watch: Watch, network: Network, other_network: Network
) -> None:
    """R16: it answers its run as ever; the run goes to the one they name, and stays alone."""
    over = wide.folder / "over"
    long = ("--ttl", "1m")
    with network.inside():
        first = Guarded(wide, *long, command=telling(wide, "first", over)).ready()
    old = watch.master()
    until("the lease on the replicas", lambda: on_all_replicas(watch))
    network.do(f"iptables -A INPUT -i wire -p tcp --dport {old.port} -j DROP")
    watch.until_replaced(old)
    until_renewed(watch.master())
    assert old.do("ROLE")[0] == b"master", "nobody could tell it"  # type: ignore[index]
    kept = left(old)
    with other_network.inside():
        other = wide.call("run", "-n", JOB, *long, "-E", "9", "--", "true")
    assert other.returncode == 9, other
    until_renewed(watch.master())
    assert left(old) < kept
    over.touch()
    assert first.status(PATIENCE_S) == 0, first.said
    assert first.said == ""


@root
@pytest.mark.debian
@pytest.mark.parametrize("heirs", [0, 1])
def test_a_run_that_is_cut_off_with_its_master(
    wide: Lab, watch: Watch, network: Network, other_network: Network, heirs: int
) -> None:
    """R16: it goes on, and a second one starts; with --min-replicas it has been stopped before."""
    over = wide.folder / "over"
    options = (*TTL, *HEIR) if heirs else TTL
    with network.inside():
        first = Guarded(wide, *options, command=telling(wide, "first", over)).ready()
    old = watch.master()
    until("the lease on the replicas", lambda: on_all_replicas(watch))
    for rule in CUT:
        network.do(rule)
    patient = ("--wait", "forever", "--store-timeout", "2m")
    command = telling(wide, "second", over)
    watch.until_replaced(old)
    with other_network.inside():
        second = Guarded(wide, *options, *patient, command=command).ready()
    if heirs:
        assert first.status() == 121, first.said
        over.touch()
    else:
        until_renewed(old)
        assert first.process.poll() is None, first.said
        network.do("iptables -F")
        assert first.status(PATIENCE_S) == 121, first.said
        assert "lock lost" in first.said
        assert f"pid {second.pid}" in first.said
        until_renewed(watch.master())
        over.touch()
    assert second.status(PATIENCE_S) == 0, second.said
    assert lives_of(wide) == {"first", "second"}
    if heirs:
        assert_no_overlap(wide.folder / "tell", 2)
    else:
        with pytest.raises(AssertionError, match="before first had ended"):
            assert_no_overlap(wide.folder / "tell", 2)
