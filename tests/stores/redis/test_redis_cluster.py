"""R18: Redis Cluster: redirects, slots that move under a run, masters that are replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cronguard.core.events import (
    Closed,
    Denied,
    Event,
    Granted,
    Held,
    Queued,
    Renewed,
    StopAsked,
    Taken,
    Unavailable,
    Woken,
)
from cronguard.stores.address import parse
from cronguard.stores.contract import Acquire, Reclaim, StoreDown, StoreRefused
from cronguard.stores.redis import calls, keys
from cronguard.stores.redis.acl import acl_line
from cronguard.stores.redis.cluster import TRIES, ClusterRoute
from cronguard.stores.redis.history import open_history
from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.scripts import SHA1, source
from tests.clusters import Cluster, info, start_cluster, until_followed
from tests.servers import FLAVOURS, Server, binary
from tests.stores.redis.helpers import Asker, claim, described, now_ms, record, why

Asking = Callable[..., Asker]
PATIENCE_S = 30
JOB = "job"


@pytest.fixture(scope="module", params=FLAVOURS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three masters with a replica each."""
    if binary(request.param) is None:
        pytest.skip(f"no {request.param} server is installed")
    started = start_cluster(tmp_path_factory.mktemp("cluster"), request.param)
    yield started
    started.stop()


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared Cluster, empty and whole."""
    yield shared
    for server in shared.servers:
        if not server.running:
            server.start()
    shared.wait()
    shared.stop_moves(JOB)
    shared.flush()


@pytest.fixture
def asker(cluster: Cluster) -> Iterator[Asking]:
    """Make askers of JOB, which are closed after the test."""
    made: list[Asker] = []

    def make(url: str = "", *, replicas: int = 0, job: str = JOB) -> Asker:
        made.append(Asker(url or cluster.url, claim(job, replicas=replicas), 2_000))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def until(ask: Callable[[], Event], kind: type[Event]) -> Event:
    """Ask until the answer is of this kind; what may pass in between is only Unavailable."""
    deadline = time.monotonic() + PATIENCE_S
    while not isinstance(event := ask(), kind):
        assert isinstance(event, Unavailable), described(event)
        assert time.monotonic() < deadline, described(event)
        time.sleep(0.05)
    return event


def test_a_run_finds_its_node_from_any_other(cluster: Cluster, asker: Asking) -> None:
    """R18: MOVED is followed, whichever node the URL names."""
    for server in cluster.servers:
        one = asker(f"redis+cluster://127.0.0.1:{server.port}")
        grant = one.granted()
        assert isinstance(one.renew(grant), Renewed)
        assert isinstance(one.finish(), Closed)
    assert cluster.owner(JOB).do("EXISTS", f"cg:{{{JOB}}}:r") == 1


def test_nodes_that_are_gone_cost_only_a_try(cluster: Cluster, asker: Asking) -> None:
    """R18: the URL names nodes; one that answers is enough."""
    last = cluster.servers[2].port
    asker(f"redis+cluster://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{last}").granted()
    refused = why(asker("redis+cluster://127.0.0.1:1,127.0.0.1:2").acquire(), Unavailable)
    assert "refused" in refused


def stages(keys: list[str]) -> dict[str, list[str]]:
    """Return ways in which the job's keys can be apart: which of them have moved."""
    ways = {"none": [], "all": keys}
    ways |= {f"only {key}": [key] for key in keys}
    ways |= {f"all but {key}": [one for one in keys if one != key] for key in keys}
    return ways


def directly(server: Server) -> Asker:
    """Return another run that knows only this node."""
    return Asker(f"redis+cluster://127.0.0.1:{server.port}", claim(JOB), 400)


def test_a_held_lock_is_never_given_again_while_its_slot_moves(
    cluster: Cluster, asker: Asking
) -> None:
    """R18: whichever of the job's keys have moved, nobody is granted it, and it is renewed."""
    holder = asker()
    grant = holder.granted()
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    for moved in stages(cluster.keys_of(JOB, source)).values():
        assert cluster.begin_move(JOB, target) is source
        for key in moved:
            cluster.move_key(source, target, key)
        for node in (source, target):
            other = directly(node)
            assert isinstance(event := other.acquire(), Held | Unavailable), (
                moved,
                described(event),
            )
            other.store.close()
        assert isinstance(event := holder.renew(grant), Renewed), (moved, described(event))
        cluster.end_move(JOB, target)
        assert isinstance(holder.renew(grant), Renewed)
        other = directly(source)
        assert isinstance(until(other.acquire, Held), Held)
        other.store.close()
        source, target = target, source
    assert isinstance(holder.finish(), Closed)
    assert asker().granted().token > grant.token


def test_nothing_of_a_run_is_lost_that_ends_while_its_slot_moves(
    cluster: Cluster, asker: Asking
) -> None:
    """R18: its end is refused as a whole, never stored by half, and done when the slot is there."""
    side = open_history(cluster.url, "cg")
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    asker().granted()
    names = cluster.keys_of(JOB, source)
    cluster.flush()
    for moved in stages(names).values():
        holder = asker()
        holder.granted()
        assert cluster.begin_move(JOB, target) is source
        for key in moved:
            cluster.move_key(source, target, key)
        assert "moving" in why(holder.finish(), Unavailable), moved
        cluster.end_move(JOB, target)
        assert isinstance(holder.finish(), Closed)
        [newest, *_] = side.runs(JOB, 1)
        assert (newest["run_id"], newest["outcome"]) == (holder.claim.owner.run_id, "succeeded")
        assert side.leases([JOB]) == {JOB: []}
        source, target = target, source
    assert side.counters([JOB])[JOB]["succeeded"] == len(stages(names))
    side.close()


def test_a_free_lock_waits_for_its_slot(cluster: Cluster, asker: Asking) -> None:
    """R18: what is not there may be on the other node: TRYAGAIN, until the slot has moved."""
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    for used in (False, True):
        if used:
            one = asker()
            one.granted()
            assert isinstance(one.finish(), Closed)
        cluster.begin_move(JOB, target)
        new = asker()
        assert "moving" in why(new.acquire(), Unavailable)
        cluster.end_move(JOB, target)
        assert isinstance(new.acquire(), Granted)
        assert isinstance(new.finish(), Closed)
        source, target = target, source


def test_a_stop_reaches_a_run_whose_slot_has_moved(cluster: Cluster, asker: Asking) -> None:
    """R18: the push comes over the Cluster's bus, or with the next renewal."""
    one = asker()
    grant = one.granted()
    one.store.watch_job(now_ms())
    assert isinstance(one.renew(grant), Renewed)
    target = cluster.other_than(cluster.owner(JOB))
    cluster.begin_move(JOB, target)
    cluster.end_move(JOB, target)
    side = open_history(cluster.url, "cg")
    side.ask_stop(JOB, one.claim.owner.run_id, "ann")
    event = one.next()
    assert isinstance(event, StopAsked), described(event)
    side.close()


def test_a_failover_on_request_keeps_the_lock(cluster: Cluster, asker: Asking) -> None:
    """R18, R9: the replica takes over, the old master redirects, the run goes on."""
    one = asker(replicas=1)
    until_followed(cluster.owner(JOB))
    grant = until(one.acquire, Granted)
    assert isinstance(grant, Granted)
    old = cluster.owner(JOB)
    new = cluster.replica_of(old)
    new.do("CLUSTER", "FAILOVER")
    cluster.until_promoted(new)
    until(lambda: one.renew(grant), Renewed)
    assert isinstance(asker().acquire(), Held)
    until(one.finish, Closed)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_lock_outlives_its_master(cluster: Cluster, asker: Asking, how: str) -> None:
    """R18, R16: what one replica has is there after the failover; the old master has no say."""
    master = cluster.owner(JOB)
    new = cluster.replica_of(master)
    until_followed(master)
    one = asker(replicas=1)
    grant = until(one.acquire, Granted)
    assert isinstance(grant, Granted)
    if how == "killed":
        master.kill()
    else:
        master.pause()
    cluster.until_promoted(new)
    late = asker()
    assert isinstance(until(late.acquire, Held), Held)
    if how == "killed":
        master.start()
    else:
        master.resume()
    cluster.wait()
    until(lambda: one.renew(grant), Renewed)
    assert isinstance(until(asker().acquire, Held), Held)
    until(one.finish, Closed)


def test_a_cluster_that_is_down_may_come_back(cluster: Cluster, asker: Asking) -> None:
    """R18: CLUSTERDOWN is no answer for good."""
    one = asker()
    grant = one.granted()
    master = cluster.owner(JOB)
    slot = cluster.slot(JOB)
    for server in cluster.current_masters():
        server.do("CLUSTER", "DELSLOTS", slot)
    event = one.renew(grant)
    assert "down" in why(event, Unavailable)
    master.do("CLUSTER", "ADDSLOTS", slot)
    cluster.wait()
    until(lambda: one.renew(grant), Renewed)
    assert isinstance(one.finish(), Closed)


def test_a_url_for_the_wrong_kind_is_refused(
    cluster: Cluster, asker: Asking, server: Server
) -> None:
    """R18: a plain URL to a node, and a Cluster's URL to a plain server, say what to write."""
    node = cluster.servers[0]
    refused = why(asker(f"redis://127.0.0.1:{node.port}").acquire(), Denied)
    assert "write redis+cluster://" in refused
    url = server.tcp_url.replace("redis://", "redis+cluster://")
    assert "write redis://" in why(asker(url).acquire(), Denied)
    with pytest.raises(StoreRefused, match="write redis://"):
        open_history(url, "cg")
    side = open_history(f"redis://127.0.0.1:{node.port}", "cg")
    elsewhere = next(job for job in "abcdefgh" if cluster.owner(job) is not node)
    with pytest.raises(StoreRefused, match=r"write redis\+cluster://"):
        side.runs(elsewhere, 1)
    side.close()


# -- every way in which the job's keys can be apart ------------------------------------------------

MOVING = ("TRYAGAIN", "ASK", "MOVED")
"""With these a node says that it has not run a script."""


def one_by_one(count: int) -> Iterator[int]:
    """Yield which key to move next, so that all 2**count divisions are seen (a Gray code)."""
    for step in range(1, 1 << count):
        yield (step & -step).bit_length() - 1


def all_but_renew(grant: Granted, holder: Asker) -> list[tuple[object, ...]]:
    """Return each script that works on a whole job, as the command of one who means harm."""
    mine, other = holder.claim, claim(JOB)
    whole = keys.whole("cg", JOB)
    run_id = mine.owner.run_id
    asked = [
        calls.acquire(other, Acquire(record(other)), indexed=False),
        calls.acquire(other, Acquire(record(other), queue_for=9_000, evict=run_id), indexed=False),
        calls.acquire(mine, Acquire(record(mine)), indexed=False),
        calls.reclaim(mine, Reclaim(grant.token, grant.index), None),
        calls.reclaim(other, Reclaim(grant.token, grant.index), None),
        calls.close(mine, holder.closing(), indexed=False),
        calls.Call("unlock", whole, [run_id, grant.token, grant.index, "ann"]),
        calls.Call("stop", whole, [run_id, "ann"]),
        calls.Call("sweep", whole, []),
        calls.Call("overview", whole, ["leases"]),
        calls.Call("overview", whole, ["all"]),
        calls.Call("recent", whole, ["1"]),
    ]
    bound = {True: [0], False: []}
    return [
        ("EVALSHA", SHA1[call.name], len(call.keys), *call.keys, *call.args, *bound[call.bounded])
        for call in asked
    ]


def answer(client: redis.Redis, command: tuple[object, ...], asking: bool) -> str:
    """Return the code of the error that a node answers with, or what it did."""
    with client.pipeline(transaction=False) as pipeline:
        if asking:
            pipeline.execute_command("ASKING")  # type: ignore[no-untyped-call,unused-ignore]
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call,unused-ignore]
        reply = pipeline.execute(raise_on_error=False)[-1]
    kinds = {redis.exceptions.TryAgainError: "TRYAGAIN", redis.exceptions.MovedError: "MOVED"}
    kinds |= {redis.exceptions.AskError: "ASK"}
    return kinds.get(type(reply), repr(reply))


def test_no_script_runs_on_a_part_of_a_job(cluster: Cluster, asker: Asking) -> None:
    """R18: for every division of the job's keys, both nodes refuse all but the renewal."""
    holder, waiter = asker(), asker()
    grant = holder.granted()
    assert isinstance(waiter.acquire(queue_for=600_000), Queued)
    side = open_history(cluster.url, "cg")
    side.ask_stop(JOB, waiter.claim.owner.run_id, "ann")
    old = cluster.owner(JOB)
    new = cluster.other_than(old)
    for server in (old, new):
        for name in SHA1:
            server.do("SCRIPT", "LOAD", source(name))
    names = cluster.keys_of(JOB, old)
    assert len(names) == 9, names
    harm = all_but_renew(grant, holder)
    cluster.begin_move(JOB, new)
    moved: set[str] = set()
    with old.client() as at_old, new.client() as at_new:
        for step in [-1, *one_by_one(len(names))]:
            if step >= 0:
                name = names[step]
                if name in moved:
                    cluster.move_back(old, new, JOB, name)
                else:
                    cluster.move_key(old, new, name)
                moved ^= {name}
            for command in harm:
                said = [answer(at_old, command, asking=False)]
                said += [answer(at_new, command, asking) for asking in (False, True)]
                assert all(word in MOVING for word in said), (moved, command[:2], said)
            assert isinstance(event := holder.renew(grant), Renewed), (moved, described(event))
    cluster.end_move(JOB, new)
    [lease] = side.leases([JOB])[JOB]
    assert (lease.owner.run_id, lease.token) == (holder.claim.owner.run_id, grant.token)
    assert side.waiters(JOB) == [waiter.claim.owner.run_id]
    assert isinstance(holder.finish(), Closed)
    assert [one["outcome"] for one in side.runs(JOB, 9)] == ["succeeded"]
    side.close()


def test_the_next_in_the_queue_is_woken_on_another_node(cluster: Cluster, asker: Asking) -> None:
    """R18: who waits on the node that had the slot hears of the release on the one that has it."""
    holder, waiter = asker(), asker()
    holder.granted()
    assert isinstance(waiter.acquire(queue_for=600_000), Queued)
    waiter.store.watch_job(now_ms())
    target = cluster.other_than(cluster.owner(JOB))
    cluster.begin_move(JOB, target)
    cluster.end_move(JOB, target)
    assert isinstance(holder.finish(), Closed)
    event = waiter.next()
    assert isinstance(event, Woken), described(event)
    assert isinstance(waiter.acquire(queue_for=600_000), Granted)


def test_a_reader_says_that_the_keys_are_moving(cluster: Cluster, asker: Asking) -> None:
    """R18: what a script cannot see as a whole is not reported by half."""
    asker().granted()
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    cluster.begin_move(JOB, target)
    cluster.move_key(source, target, f"cg:{{{JOB}}}:f")
    side = open_history(cluster.url, "cg")
    with pytest.raises(StoreDown, match="keys are moving"):
        side.leases([JOB])
    cluster.end_move(JOB, target)
    assert len(side.leases([JOB])[JOB]) == 1
    side.close()


def test_a_reader_outlives_a_master(cluster: Cluster, asker: Asking) -> None:
    """R18: a history that was opened before a failover reads on after it."""
    one = asker(replicas=1)
    master = cluster.owner(JOB)
    until_followed(master)
    until(one.acquire, Granted)
    side = open_history(cluster.url, "cg")
    assert side.jobs() == [JOB]
    new = cluster.replica_of(master)
    master.kill()
    cluster.until_promoted(new)
    cluster.wait()
    assert side.jobs() == [JOB]
    assert len(side.leases([JOB])[JOB]) == 1
    assert side.waiters(JOB) == []
    assert side.facts()["cluster_state"] == "ok"
    side.close()


def lean(cluster: Cluster, line: str) -> str:
    """Make that user on all nodes; return the URL with it."""
    for server in cluster.servers:
        server.do("ACL", "DELUSER", "lean")
        server.do(*line.replace("PASSWORD", "pw").split())
    return cluster.url.replace("://", "://lean:pw@")


def test_the_least_rights_are_enough_for_a_cluster(cluster: Cluster, asker: Asking) -> None:
    """R12, R18: also while a slot moves; and who lacks +asking is told so."""
    line = acl_line("lean", "cg", cluster=True, replicas=True)
    one = asker(lean(cluster, line), replicas=1)
    until_followed(cluster.owner(JOB))
    grant = until(one.acquire, Granted)
    assert isinstance(grant, Granted)
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    cluster.begin_move(JOB, target)
    cluster.move_key(source, target, one.key("l:0"))
    until(lambda: one.renew(grant), Renewed)
    lean(cluster, line.replace(" +asking", ""))
    assert "'lean' lacks a permission" in why(one.renew(grant), Denied)
    url = lean(cluster, line)
    assert isinstance(until(lambda: one.renew(grant), Renewed), Renewed)
    cluster.end_move(JOB, target)
    side = open_history(url, "cg")
    assert (side.jobs(), len(side.leases([JOB])[JOB])) == ([JOB], 1)
    assert (side.facts()["masters"], side.facts()["slots"]) == (3, None)
    side.close()
    until(one.finish, Closed)
    with pytest.raises(StoreRefused, match="the password is wrong"):
        open_history(url.replace("pw@", "no@"), "cg")
    with pytest.raises(StoreRefused, match="lacks a permission"):
        open_history(lean(cluster, line.replace(" +cluster|slots", "")), "cg")
    for server in cluster.servers:
        server.do("ACL", "DELUSER", "lean")


def test_a_slot_that_moves_at_once_takes_the_lock_along(cluster: Cluster, asker: Asking) -> None:
    """R18: Valkey 9 moves a slot as a whole; a run on it does not notice."""
    one = asker(replicas=0)
    grant = one.granted()
    source = cluster.owner(JOB)
    target = cluster.other_than(source)
    slot = cluster.slot(JOB)
    try:
        source.do(
            "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.ids[target.port]
        )
    except redis.exceptions.ResponseError as error:
        pytest.skip(f"this server moves key by key ({error})")
    deadline = time.monotonic() + PATIENCE_S
    while cluster.owner(JOB) is not target:
        until(lambda: one.renew(grant), Renewed)
        assert isinstance(event := until(asker().acquire, Held), Held), described(event)
        assert time.monotonic() < deadline, "the slot does not move"
    until(lambda: one.renew(grant), Renewed)
    assert isinstance(asker().acquire(), Held)
    until(one.finish, Closed)


@pytest.mark.parametrize("whole", ["yes", "no"])
def test_a_node_is_lost_that_nobody_replaces(tmp_path: Path, whole: str) -> None:
    """R18: its jobs wait for it, and all others too where the Cluster wants to be whole."""
    flavour = next(name for name in FLAVOURS if binary(name) is not None)
    args = ("--cluster-require-full-coverage", whole)
    cluster = start_cluster(tmp_path, flavour, *args, replicas=0)
    try:
        lost, left = cluster.masters[0], cluster.masters[1]
        jobs = [f"job{number}" for number in range(40)]
        gone = next(job for job in jobs if cluster.owner(job) is lost)
        kept = next(job for job in jobs if cluster.owner(job) is left)
        first, second = Asker(cluster.url, claim(gone)), Asker(cluster.url, claim(kept))
        grants = first.granted(), second.granted()
        lost.kill()
        deadline = time.monotonic() + PATIENCE_S
        while info(left, "CLUSTER", "INFO").count("cluster_slots_fail:0"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        why(first.renew(grants[0]), Unavailable)
        if whole == "no":
            assert isinstance(second.renew(grants[1]), Renewed)
        else:
            assert "down" in why(second.renew(grants[1]), Unavailable)
        lost.start()
        until(lambda: second.renew(grants[1]), Renewed)
        for one in (first, second):
            one.store.close()
    finally:
        cluster.stop()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_master_that_falls_with_half_a_slot(tmp_path: Path, flavour: str) -> None:
    """R18: Redis 7 forgets then that the slot is moving, so that its heir may grant what is held.

    No client can see that. But the holder learns it with its next renewal, and never goes on.
    Valkey remembers.
    """
    if binary(flavour) is None:
        pytest.skip(f"no {flavour} server is installed")
    cluster = start_cluster(tmp_path, flavour)
    holder, other = Asker(cluster.url, claim(JOB)), Asker(cluster.url, claim(JOB))
    try:
        grant = holder.granted()
        source = cluster.owner(JOB)
        target, heir = cluster.other_than(source), cluster.replica_of(source)
        cluster.begin_move(JOB, target)
        names = cluster.keys_of(JOB, source)
        for name in names:
            cluster.move_key(source, target, name)
        deadline = time.monotonic() + PATIENCE_S
        while cluster.keys_of(JOB, heir):
            assert time.monotonic() < deadline, "the replica does not hear of the move"
        source.kill()
        cluster.until_promoted(heir)
        if flavour == "valkey":
            until(lambda: holder.renew(grant), Renewed)
            assert "moving" in why(other.acquire(), Unavailable)
        else:
            until(other.acquire, Granted)
            until(lambda: holder.renew(grant), Taken)
            until(lambda: holder.reclaim(grant), Taken)
    finally:
        for one in (holder, other):
            one.store.close()
        cluster.stop()


# -- the route, word by word -----------------------------------------------------------------------


def route(url: str = "redis+cluster://a:1,b:2,c:3,d:4,e:5,f:6") -> ClusterRoute:
    """Return one that is about to be asked."""
    found = ClusterRoute(parse(url))
    found.begin(0, 2_000)
    return found


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ("MOVED 3999 10.0.0.7:6381", ("10.0.0.7", 6381)),
        ("MOVED 3999 redis-2.example.org:6381", ("redis-2.example.org", 6381)),
        ("MOVED 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 [::1]:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("seed", 6381)),
        ("MOVED 3999 :0", None),
        ("MOVED 3999 10.0.0.7:99999", None),
        ("MOVED 3999 10.0.0.7", None),
        ("MOVED 3999", None),
        ("MOVED", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
    ],
)
def test_a_redirect_names_a_node(said: str, node: tuple[str, int] | None) -> None:
    """R18: host and port, names, IPv6; no host is the same host; anything else is no redirect."""
    one = route("redis+cluster://seed:1")
    one.find(0)
    assert one.follow(said) is (node is not None)
    if node is not None:
        found = one.find(0)
        assert (found.host, found.port) == node
        asking = route("redis+cluster://seed:1")
        asking.find(0)
        assert asking.follow(said.replace("MOVED", "ASK"))
        found = asking.find(0)
        assert ((found.host, found.port), asking.asking) == (node, True)
        assert asking.answered(), "and the next request begins elsewhere"


def test_a_detour_that_was_not_taken_is_forgotten() -> None:
    """R18: an ASK is for one request; the next one asks who has the slot."""
    one = route("redis+cluster://seed:1")
    one.find(0)
    assert one.follow("ASK 1 other:2")
    one.failed()
    one.begin(0, 2_000)
    found = one.find(0)
    assert (found.host, one.asking) == ("seed", False)


def test_attempts_take_turns_with_the_nodes() -> None:
    """R18: each has time for a few nodes only, and begins where the last one ended."""
    one = route()
    tried = []
    for _ in range(3):
        one.begin(0, 2_000)
        tried += [one.find(0).host for _ in range(TRIES)]
        with pytest.raises(Broken, match="none of its nodes"):
            one.find(0)
    assert sorted(tried) == sorted([*"abcdef"] * 2)
