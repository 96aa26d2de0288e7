"""Packets that are late or lost, as the kernel loses them, in a network of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.process.conftest import finish
from tests.process.lab import Lab
from tests.process.networks import Network
from tests.process.places import root
from tests.process.witness import Guarded, wait_for_renewal


@pytest.fixture
def far(network: Network, tmp_path: Path) -> Iterator[Lab]:
    """A lab on a server in that network, looked at by its socket from here."""
    folder = tmp_path / "server"
    folder.mkdir()
    with network.inside():
        server = servers.start_server(folder, "redis" if servers.binary("redis") else "valkey")
    place = Lab(tmp_path, server.url)
    place.env["CRONGUARD_STORE"] = server.tcp_url
    yield place
    finish(place)
    server.stop()


@root
@pytest.mark.debian
def test_r3_a_lossy_line_is_good_enough(far: Lab, network: Network) -> None:
    """R3: one packet in seven is lost: it runs, is renewed, and ends."""
    loss = "-m statistic --mode nth --every 7 --packet 0"
    network.do(f"iptables -A INPUT -p tcp {loss} -j DROP")
    with network.inside():
        run = Guarded(far, "--ttl", "30s", "--store-timeout", "20s").ready()
    for _ in range(2):
        wait_for_renewal(far)
    assert run.end() == 7
    assert "lock lost" not in run.said
    assert far.records("job")[0]["outcome"] == "failed"


@root
@pytest.mark.debian
def test_r2_packets_that_vanish_end_an_attempt_in_time(far: Lab, network: Network) -> None:
    """R2: dropped from the start: nothing starts, and nobody waits for the kernel's patience."""
    network.do("iptables -A INPUT -p tcp -j DROP")
    with network.inside():
        done = far.call("run", "-n", "job", "--store-timeout", "1s", "--", "true")
    assert done.returncode == 122
    assert b"no answer within" in done.stderr


@root
@pytest.mark.debian
def test_r21_l5_a_line_that_dies_and_comes_back(far: Lab, network: Network) -> None:
    """R21, L5: half open: no packet, no reset; one warning, and on a new connection it goes on."""
    with network.inside():
        run = Guarded(far, "--ttl", "30s").ready()
    wait_for_renewal(far)
    network.do("iptables -A INPUT -p tcp -j DROP")
    run.says("cannot renew the lock")
    network.do("iptables -F INPUT")
    run.says("renews the lock again")
    assert run.end() == 7
    assert run.said.count("cannot renew the lock") == 1


@root
@pytest.mark.debian
def test_l10_a_release_that_no_packet_carries(far: Lab, network: Network) -> None:
    """L10: tried for a while, then left to expire: the status stands, the record is kept here."""
    with network.inside():
        run = Guarded(far, "--ttl", "30s").ready()
    network.do("iptables -A INPUT -p tcp -j DROP")
    assert run.end() == 7
    assert "could not give the lock back" in run.said
    network.do("iptables -F INPUT")
    with network.inside():
        done = far.call("run", "-n", "job", "--ttl", "30s", "-E", "9", "--", "true")
    assert done.returncode == 0, done.stderr
    assert [one["exit_status"] for one in far.records("job")] == [0, 7]
