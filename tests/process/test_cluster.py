"""R18: real runs on a Redis Cluster, while its slots move and its masters fall."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import SLOTS, Cluster, start_cluster, until_followed
from tests.process.conftest import finish
from tests.process.groups import (
    HEIR,
    JOB,
    LEASE,
    ask_in_vain,
    left,
    lives_of,
    telling,
    waiting,
)
from tests.process.lab import Lab, until
from tests.process.witness import (
    TAKEOVER_MS,
    TTL,
    TTL_MS,
    Deathwatch,
    Guarded,
    assert_no_overlap,
    family_of,
    now_ms,
)
from tests.servers import FLAVOURS, Server, binary

pytestmark = pytest.mark.variant

SLOW_MS = 20_000
"""How long a slot is under way: longer than the store keeps a lease of that TTL."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with a replica each, that keep what they are told."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    started = start_cluster(tmp_path_factory.mktemp("cluster"), flavour, "--appendonly", "yes")
    yield started
    started.stop()


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared Cluster, empty and whole, also for the next test."""
    yield shared
    for server in shared.servers:
        if server.running:
            server.resume()
        else:
            server.start()
    shared.wait()
    shared.stop_moves(JOB)
    shared.flush()
    for master in shared.current_masters():
        until_followed(master)


@pytest.fixture
def wide(cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """A lab on the Cluster."""
    place = Lab(tmp_path, cluster.url)
    yield place
    for server in cluster.servers:
        if server.running:
            server.resume()
    finish(place)


def left_abroad(server: Server) -> int:
    """Return the same of a node whose slot is only on its way to it."""
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("ASKING")  # type: ignore[no-untyped-call,unused-ignore]
        pipeline.pttl(LEASE)
        return int(pipeline.execute()[1])


def renewals(lab: Lab) -> int:
    """Return how often the run that ended by itself was renewed, with no trouble on the way."""
    [record] = [one for one in lab.records(JOB) if one["outcome"] == "failed"]
    assert record["renew_failures"] == 0, record
    return int(str(record["renewals"]))


def test_a_run_goes_on_while_its_slot_moves_slowly(wide: Lab, cluster: Cluster) -> None:
    """R18: half of its keys gone, for longer than its lease: renewed all along, and alone."""
    run = Guarded(wide, *TTL).ready()
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    cluster.begin_move(JOB, target)
    names = cluster.keys_of(JOB, source)
    half = [name for name in names if name != LEASE][: len(names) // 2 - 1]
    for name in (*half, LEASE):
        cluster.move_key(source, target, name)
    began = now_ms()
    told = list[bytes]()
    while now_ms() - began < SLOW_MS:
        other = wide.call("run", "-n", JOB, *TTL, "--store-timeout", "2s", "--", "true")
        assert other.returncode == 122, other
        told.append(other.stderr)
        assert left_abroad(target) > TAKEOVER_MS, "it is renewed where it is"
    assert any(b"keys are moving" in said for said in told), told
    cluster.end_move(JOB, target)
    assert wide.call("run", "-n", JOB, *TTL, "-E", "9", "--", "true").returncode == 9
    assert run.end() == 7, run.said
    assert run.said == ""
    assert renewals(wide) >= SLOW_MS // (TTL_MS // 2)
    assert wide.call("run", "-n", JOB, *TTL, "-E", "9", "--", "true").returncode == 0


def test_a_lock_is_taken_when_its_slot_has_moved(wide: Lab, cluster: Cluster) -> None:
    """R18: within --store-timeout a run waits for the slot, and then starts."""
    target = cluster.other_than(cluster.owner(JOB))
    cluster.begin_move(JOB, target)
    run = Guarded(wide, *TTL, "--store-timeout", "30s")
    owner = cluster.owner(JOB)
    until("the run to ask", lambda: asked(owner))
    cluster.end_move(JOB, target)
    run.ready()
    assert run.end() == 7
    assert run.said == ""


def asked(server: Server) -> bool:
    """Tell whether one of our runs has a connection to it."""
    said = server.do("CLIENT", "LIST")
    return "cronguard" in str(said)


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
def test_a_reshard_goes_unnoticed(wide: Lab, cluster: Cluster) -> None:
    """R18: redis-cli moves the slot away and back while a run holds its lock there."""
    run = Guarded(wide, *TTL).ready()
    home = cluster.owner(JOB)
    for _ in range(2):
        source = cluster.owner(JOB)
        target = cluster.other_than(source)
        reshard(cluster, source, target, count_up_to(cluster, source))
        assert cluster.owner(JOB) is target
        assert wide.call("run", "-n", JOB, *TTL, "-E", "9", "--", "true").returncode == 9
        if target is home:
            break
    stopped = wide.call("stop", JOB)
    assert stopped.returncode == 0, stopped.stderr
    assert run.status() == 143, run.said
    assert wide.records(JOB)[0]["outcome"] == "stopped"


def count_up_to(cluster: Cluster, source: Server) -> int:
    """Return how many of a node's slots, from its first on, include the job's."""
    slot = cluster.slot(JOB)
    return sum(1 for one in cluster.slots_of(source) if one <= slot)


def reshard(cluster: Cluster, source: Server, target: Server, count: int) -> None:
    """Have redis-cli move a node's first slots."""
    assert 0 < count <= SLOTS
    words = ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-yes"]
    words += ["--cluster-from", cluster.ids[source.port], "--cluster-to", cluster.ids[target.port]]
    words += ["--cluster-slots", str(count)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    cluster.wait()


@pytest.mark.parametrize("how", ["asked", "killed", "frozen"])
def test_no_second_run_starts_when_a_master_is_replaced(
    wide: Lab, cluster: Cluster, how: str
) -> None:
    """R18, R16: the heir has the lock; the old master, when it is back, has no say."""
    master = cluster.owner(JOB)
    heir = cluster.replica_of(master)
    until_followed(master)
    first = Guarded(wide, *TTL, *HEIR, command=telling(wide, "first", SLOW_MS)).ready()
    until("the lease on the heir", lambda: left_on_replica(heir) > 0)
    replace(cluster, master, heir, how)
    tags = [f"late{number}" for number in range(3)]
    waiters = waiting(wide, tags, *TTL, *HEIR)
    until("the heir to be renewed", lambda: left(heir) > TTL_MS, 30)
    if how == "frozen":
        master.resume()
    elif how == "killed":
        master.start()
    # Whoever knows only the old master, and asks it at once, is sent on or told to wait.
    only = {"CRONGUARD_STORE": f"redis+cluster://127.0.0.1:{master.port}"}
    tries = 0
    while first.process.poll() is None:
        tries += 1
        ask_in_vain(wide, first, *TTL, *HEIR, env=only)
    assert first.status() == 0, first.said
    assert tries > 3
    for waiter in waiters:
        assert waiter.status(60) == 0, waiter.said
    assert_no_overlap(wide.folder / "tell", len(list(lives_of(wide))))
    assert {*tags, "first"} <= set(lives_of(wide))


def replace(cluster: Cluster, master: Server, heir: Server, how: str) -> None:
    """Have the heir be the master."""
    if how == "asked":
        heir.do("CLUSTER", "FAILOVER")
    elif how == "killed":
        master.kill()
    else:
        master.pause()
    cluster.until_promoted(heir)


def left_on_replica(server: Server) -> int:
    """Return how long a replica thinks that the lease lasts."""
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("READONLY")  # type: ignore[no-untyped-call,unused-ignore]
        pipeline.pttl(LEASE)
        return int(pipeline.execute()[1])


def test_a_run_outlives_a_short_outage_of_the_cluster(wide: Lab, cluster: Cluster) -> None:
    """R18, L5: its master dies with its heir and comes back in time: warned, recovered, done."""
    run = Guarded(wide, "--ttl", "30s").ready()
    master = cluster.owner(JOB)
    heir = cluster.replica_of(master)
    heir.kill()
    master.kill()
    run.says("cannot")
    master.start()
    heir.start()
    run.says("renews the lock again")
    assert run.end() == 7, run.said


def test_a_run_ends_when_the_cluster_stays_down(wide: Lab, cluster: Cluster) -> None:
    """R18, L4: nobody has its slot any more: all is dead before the lease can end; then 121."""
    run = Guarded(wide, *TTL, command=telling(wide, "first", 120_000)).ready()
    watch = Deathwatch(family_of(wide.folder / "tell", "first"))
    master = cluster.owner(JOB)
    heir = cluster.replica_of(master)
    asked_at = now_ms()
    kept = left(master)
    heir.kill()
    master.kill()
    assert watch.last() < asked_at + kept - TAKEOVER_MS
    assert run.status() == 121, run.said
