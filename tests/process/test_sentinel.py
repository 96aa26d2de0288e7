"""R15 to R17: real runs behind Sentinel, while masters are replaced and sentinels are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.process.conftest import finish
from tests.process.groups import (
    HEIR,
    JOB,
    LEASE,
    PATIENCE_S,
    ask_in_vain,
    left,
    lives_of,
    telling,
    until_renewed,
    waiting,
)
from tests.process.lab import Lab
from tests.process.witness import (
    TAKEOVER_MS,
    TTL,
    Deathwatch,
    Guarded,
    assert_no_overlap,
    family_of,
    now_ms,
)
from tests.sentinels import Watch, start_watch
from tests.servers import FLAVOURS, Server, binary

pytestmark = pytest.mark.variant

LONG = ("--ttl", "1m")
"""Sentinels that have to vote twice are done before such a lease is given up."""


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """A master with two replicas, which keep what they are told, and three sentinels."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = start_watch(tmp_path / "watch", flavour, "--appendonly", "yes")
    yield started
    started.stop()


@pytest.fixture
def wide(watch: Watch, tmp_path: Path) -> Iterator[Lab]:
    """A lab on them."""
    place = Lab(tmp_path, watch.url)
    yield place
    finish(place)


class Replaced:
    """A master that others have replaced: as long as it does not know, it is not renewed on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._left: int | None = None
        for _ in range(3):
            server.do("PING")  # what lay in its sockets is done

    def thinks_it_is_master(self) -> bool:
        """Tell whether it does, and check that the lease there has only become shorter."""
        with self._server.client() as client, client.pipeline() as pipeline:
            pipeline.execute_command("ROLE")  # type: ignore[no-untyped-call,unused-ignore]
            pipeline.pttl(LEASE)
            try:
                role, kept = pipeline.execute()
            except redis.BusyLoadingError:  # what its master has sent
                return False
        if role[0] != b"master":
            return False
        assert self._left is None or kept <= self._left, (kept, self._left)
        self._left = kept
        return True


@pytest.mark.parametrize("how", ["asked", "killed", "frozen"])
def test_no_second_run_starts_when_the_master_is_replaced(
    wide: Lab, watch: Watch, how: str
) -> None:
    """R15, R16: the heir has the lock; the old master that is back is never renewed on."""
    over = wide.folder / "over"
    first = Guarded(wide, *LONG, *HEIR, command=telling(wide, "first", over)).ready()
    tags = [f"late{number}" for number in range(3)]
    waiters = waiting(wide, tags, *LONG, *HEIR)
    waiters[0].says("waiting for the lock", PATIENCE_S)
    master = watch.master()
    if how == "asked":
        watch.fail_over()
    elif how == "killed":
        master.kill()
    else:
        master.pause()
    ask_in_vain(wide, first, *LONG, *HEIR)
    watch.until_replaced(master)
    heir = watch.master()
    until_renewed(heir)
    if how == "frozen":
        master.resume()
    elif how == "killed":
        master.start()
    old = Replaced(master)
    tries = 0
    while old.thinks_it_is_master() or tries < 4:
        ask_in_vain(wide, first, *LONG, *HEIR)
        tries += 1
    over.touch()
    assert first.status(PATIENCE_S) == 0, first.said
    for waiter in waiters:
        assert waiter.status(PATIENCE_S) == 0, waiter.said
    assert_no_overlap(wide.folder / "tell", len(lives_of(wide)))
    assert lives_of(wide) == {*tags, "first"}


# -- sentinels that are gone -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_without_sentinels_a_run_goes_on_to_its_end(wide: Lab, watch: Watch, how: str) -> None:
    """R17: renewed, released and recorded; only who is new finds no master, and says why."""
    master = watch.master()
    run = Guarded(wide, *TTL).ready()
    for one in watch.sentinels:
        getattr(one, how)()
    touched = wide.folder / "ran"
    words = ("run", "-n", JOB, *TTL, "-E", "9", "--store-timeout", "2s")
    refused = wide.call(*words, "--", "touch", str(touched))
    assert (refused.returncode, touched.exists()) == (122, False), refused
    said = {"kill": b"none of its sentinels says who the master is (connection refused"}
    assert said.get(how, b"no answer from its sentinels") in refused.stderr, refused.stderr
    for _ in range(3):
        until_renewed(master)
    assert run.end() == 7
    assert run.said == ""
    assert left(master) < 0, "the lock is given back"
    waiter = Guarded(wide, *TTL, "--store-timeout", "2m")
    back = watch.sentinels[-1]
    if how == "kill":
        back.start()
    else:
        back.resume()
    assert waiter.ready().end() == 7
    assert waiter.said == ""
    outcomes = sorted(str(record["outcome"]) for record in wide.records(JOB))
    assert outcomes == ["failed", "failed", "store_unavailable"]
    assert list((wide.state / "outbox").iterdir()) == []


def test_sentinels_that_come_back_are_listened_to(wide: Lab, watch: Watch) -> None:
    """R17, R15: the run that did without them follows the failover that they see to then."""
    run = Guarded(wide, *LONG, *HEIR).ready()
    master = watch.master()
    for one in watch.sentinels:
        one.kill()
    for _ in range(2):
        until_renewed(master)
    for one in watch.sentinels:
        one.start()
    watch.until_well()
    watch.fail_over()
    heir = watch.master()
    assert heir is not master
    until_renewed(heir)
    assert run.end() == 7, run.said
    assert wide.records(JOB)[0]["outcome"] == "failed"


# -- servers that are gone -------------------------------------------------------------------------


def test_a_run_outlives_a_short_outage_of_all_servers(wide: Lab, watch: Watch) -> None:
    """R15, L5: the master dies with its heirs and comes back in time: warned, recovered, done."""
    run = Guarded(wide, *LONG).ready()
    master = watch.master()
    for server in (*watch.replicas(), master):
        server.kill()
    run.says("cannot renew the lock", PATIENCE_S)
    for server in watch.servers:
        server.start()
    run.says("renews the lock again", PATIENCE_S)
    assert run.end() == 7, run.said
    assert run.said.count("cannot renew the lock") == 1


def test_a_run_ends_when_all_servers_stay_down(wide: Lab, watch: Watch) -> None:
    """R15, L4: sentinels alone extend nothing: all is dead before the lease can end; then 121."""
    run = Guarded(wide, *TTL, command=telling(wide, "first", 120_000)).ready()
    family = Deathwatch(family_of(wide.folder / "tell", "first"))
    master = watch.master()
    for server in watch.replicas():
        server.kill()
    master.do("CLIENT", "PAUSE", 60_000, "WRITE")  # so what is read now is not extended
    asked_at = now_ms()
    kept = left(master)
    master.kill()
    assert family.last() < asked_at + kept - TAKEOVER_MS
    assert run.status() == 121, run.said
    assert "lock lost" in run.said
