"""Faults of servers that know each other: failovers of all sorts, replicas lost, slots that move.

Each waits until all is well again before it is over, and nothing else is done to servers meanwhile:
(d) of the README is about one loss at a time. `--min-replicas 1` and one replica for each master
make the heir the one who has been told of each lease.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from tests.chaos.kinds import AWAY, Clustered, Kind, Watched
from tests.chaos.lab import Lab, Steps, now_ms
from tests.chaos.server_faults import cut_off, keep_again, name_of
from tests.clusters import Cluster
from tests.servers import Server

WELL_MS = 60_000
LOOK_MS = 100
MOVED_WITHIN_MS = 30_000
Way = Callable[[Lab, Server, int], Steps]


def until_well(kind: Kind) -> Steps:
    """Wait until the servers have come together again, for a bounded time."""
    end = now_ms() + WELL_MS
    while not kind.is_well() and now_ms() < end:
        yield LOOK_MS


def masters(kind: Kind) -> list[Server]:
    """Return the masters; none if they cannot be told now."""
    try:
        if isinstance(kind, Watched):
            return [kind.watch.master()]
        assert isinstance(kind, Clustered)
        return kind.cluster.current_masters()
    except (*AWAY, AssertionError, ValueError):
        return []


def _on_group(
    kind: str, way: Way, choose: Callable[[Lab], list[Server]]
) -> Callable[[Lab, int, int], Steps]:
    """Return a fault of one server that begins when all are well, and ends so."""

    def fault(lab: Lab, pick: int, for_ms: int) -> Steps:
        if lab.kind.steady or lab.kind.frozen or now_ms() < lab.fragile_until:
            return
        if not lab.kind.is_well():
            return
        servers = choose(lab)
        if not servers:
            return
        server = servers[pick % len(servers)]
        lab.kind.steady = True
        lab.fault(kind, name_of(lab, server), for_ms=for_ms)
        try:
            yield from way(lab, server, for_ms)
            yield from until_well(lab.kind)
        finally:
            lab.kind.steady = False
            lab.healed(kind, name_of(lab, server))

    return fault


def a_master(lab: Lab) -> list[Server]:
    """Return whom to take for a fault of a master."""
    return masters(lab.kind)


def a_replica(lab: Lab) -> list[Server]:
    """Return whom to take for a fault of a replica."""
    leading = masters(lab.kind)
    return [one for one in lab.kind.servers if one not in leading] if leading else []


def ask(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Have the master replaced while it lives."""
    try:
        if isinstance(lab.kind, Watched):
            lab.kind.sentinels[0].do("SENTINEL", "FAILOVER", lab.kind.watch.name)
        elif isinstance(lab.kind, Clustered):
            lab.kind.cluster.replica_of(server).do("CLUSTER", "FAILOVER")
    except (*AWAY, AssertionError):
        return  # they had begun one
    yield 500


def kill(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Kill it, and start it again with its data: it finds that it was replaced."""
    lab.kind.remember_role(server)
    server.kill()
    try:
        yield for_ms
    finally:
        server.start()


def freeze(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Stop it: it wakes up, and still takes itself for the master."""
    pid = server.pid
    with lab.frozen([pid]):
        yield for_ms


def cut(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Cut it off: it lives, takes itself for the master, and nobody hears it."""
    cut_off(server, True)
    try:
        yield for_ms
    finally:
        cut_off(server, False)


def forget(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Restart a replica without its data; it gets all from its master."""
    lab.kind.remember_role(server)
    server.kill()
    for path in server.folder.glob("appendonly*/*"):
        path.unlink()
    try:
        yield for_ms
    finally:
        server.start()
    keep_again(server)


def move_slot(lab: Lab, server: Server, for_ms: int) -> Steps:
    """Have the slot of a job that runs just now moved to another master, key by key."""
    kind = lab.kind
    assert isinstance(kind, Clustered)
    jobs = [one.start.job for one in lab.running.values()]
    if not jobs:
        return
    job = jobs[-1]
    cluster = kind.cluster
    source = cluster.owner(job)
    target = cluster.other_than(source)
    cluster.begin_move(job, target)
    try:
        yield for_ms // 2
        for key in cluster.keys_of(job, source):
            with suppress(*AWAY):  # frozen at this very moment: it goes with the rest
                cluster.move_key(source, target, key)
            yield max(for_ms // 20, 1)
        yield for_ms // 4
    finally:
        _end_move(cluster, job, target)


def _end_move(cluster: Cluster, job: str, target: Server) -> None:
    """Move what is left, also when a node was away for a moment."""
    deadline = now_ms() + MOVED_WITHIN_MS
    while True:
        try:
            return cluster.end_move(job, target)
        except AWAY:
            if now_ms() > deadline:
                raise


def _sentinels(kind: str, begin: Callable[[Lab, int], Steps]) -> Callable[[Lab, int, int], Steps]:
    def fault(lab: Lab, pick: int, for_ms: int) -> Steps:
        if lab.kind.steady:
            return
        lab.kind.steady = True
        lab.fault(kind, "sentinels", for_ms=for_ms)
        try:
            yield from begin(lab, for_ms)
            yield from until_well(lab.kind)
        finally:
            lab.kind.steady = False
            lab.healed(kind, "sentinels")

    return fault


def kill_sentinels(lab: Lab, for_ms: int) -> Steps:
    """Kill all of them: what is connected stays so."""
    for one in lab.kind.sentinels:
        one.kill()
    try:
        yield for_ms
    finally:
        for one in lab.kind.sentinels:
            one.start()


def freeze_sentinels(lab: Lab, for_ms: int) -> Steps:
    """Stop all of them."""
    pids = [one.pid for one in lab.kind.sentinels]
    with lab.frozen(pids):
        yield for_ms


KINDS = {
    "ask for a failover": _on_group("ask for a failover", ask, a_master),
    "kill the master": _on_group("kill the master", kill, a_master),
    "freeze the master": _on_group("freeze the master", freeze, a_master),
    "cut the master": _on_group("cut the master", cut, a_master),
    "restart replica without data": _on_group("restart replica without data", forget, a_replica),
    "move slot": _on_group("move slot", move_slot, a_master),
    "move slot slowly": _on_group("move slot slowly", move_slot, a_master),
    "kill sentinels": _sentinels("kill sentinels", kill_sentinels),
    "freeze sentinels": _sentinels("freeze sentinels", freeze_sentinels),
}
