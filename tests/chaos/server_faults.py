"""Faults of servers: frozen, slow, killed, restarted, cut off, their clocks set, leases taken.

What the README assumes of a server limits them:

(c) A clock step must be below the delay between the end of a lease for its holder and for others:
    no server's clock is more than 2 s from the true time, and of a Cluster, whose nodes would take
    each other for dead, 0.8 s. Nor in a quorum: one server that was frozen when a lease was granted
    by the two others, and one of these that expires it at a step, are two that failed together.
(d) A lease that was taken away can be taken again by its holder, if nobody was faster: so nobody
    asks for the job for so long, no holder is kept from its heartbeat, and only a run that nothing
    else was done to, on a host that is well, loses its lease. FLUSHALL is not done: it would take
    the records, which are the proof. A restart without data takes them as well, so a dead server's
    data is laid aside, and its records are read from there in the end. It needs no such care: hosts
    that knew the server wait for a lease time. All do, as each has run something before the first.
    In a quorum, two servers never forget within LOSSY_MS, which is longer than a lease.
    Of masters with replicas, only a replica is restarted without data: the replica of a master that
    is back before it is missed would throw its own away.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos import run_faults
from tests.chaos.kinds import AWAY, Clustered, Quorum, move_data
from tests.chaos.lab import FRAGILE_MS, Lab, Running, Steps, chosen, now_ms
from tests.chaos.namespaces import tool
from tests.clusters import info
from tests.servers import Server

LOSSY_MS = 20_000
QUARANTINE_MS = 16_500
"""A server is not trusted for ttl + takeover delay after a start without data."""
REWRITTEN_WITHIN_MS = 10_000
STEP_MS, STEP_CLUSTER_MS = 2_000, 800
RIGHT_FOR_MS = 40_000
"""So long after a step no token is ahead of the clock."""
SLOW_ON_MS, SLOW_OFF_MS = 60, 25
HOLDS_AFTER_MS = 400
EVICTIONS = {"evict", "evict while it lasts"}
NO_TROUBLE = {*run_faults.KINDS, "forget scripts", "kill connections"}
"""Faults that keep nobody from a heartbeat but whom they hit."""


def name_of(lab: Lab, server: Server) -> str:
    """Return what a server is called in the events."""
    return f"server-{lab.kind.servers.index(server) + 1}"


def free_server(lab: Lab, pick: int, *, lossy: bool = False) -> Server | None:
    """Return a server that runs and that nothing else needs as it is."""
    now = now_ms()
    if lab.kind.steady or now < lab.fragile_until:
        return None
    servers = [one for one in lab.kind.servers if one.running and one.pid not in lab.kind.frozen]
    if lossy and isinstance(lab.kind, Quorum):
        victims = [one for one in servers if lab.lossy_until.get(one.port, 0) > now]
        servers = victims or servers
    return servers[pick % len(servers)] if servers else None


def note_loss(lab: Lab, server: Server, for_ms: int) -> None:
    """In a quorum, let no other server forget anything for a while."""
    lab.lossy_until[server.port] = now_ms() + for_ms + LOSSY_MS


def cuts(lab: Lab) -> dict[str, object]:
    """Return that nobody can renew while a server is away, if there is but one."""
    return {"cuts": "all"} if len(lab.kind.servers) == 1 else {}


def _freeze(kind: str) -> Callable[[Lab, int, int], Steps]:
    def freeze(lab: Lab, pick: int, for_ms: int) -> Steps:
        server = free_server(lab, pick)
        if server is None:
            return
        pid = server.pid
        lab.fault(kind, name_of(lab, server), for_ms=for_ms, **cuts(lab))
        try:
            with lab.frozen([pid]):
                yield for_ms
        finally:
            lab.healed(kind, name_of(lab, server))

    return freeze


def freeze_most(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Stop two of three."""
    first = free_server(lab, pick)
    if first is None:
        return
    pids = [one.pid for one in lab.kind.servers if one.running and one is not first]
    lab.fault("freeze most servers", "servers", for_ms=for_ms, cuts="all")
    try:
        with lab.frozen(pids):
            yield for_ms
    finally:
        lab.healed("freeze most servers", "servers")


def slow(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Let a server run for a moment only, now and then."""
    server = free_server(lab, pick)
    if server is None:
        return
    pid = server.pid
    lab.fault("slow server", name_of(lab, server), for_ms=for_ms)
    try:
        for _ in range(for_ms // (SLOW_ON_MS + SLOW_OFF_MS)):
            with lab.frozen([pid]):
                yield SLOW_ON_MS
            yield SLOW_OFF_MS
    finally:
        lab.healed("slow server", name_of(lab, server))


def _tell(kind: str, *words: object) -> Callable[[Lab, int, int], Steps]:
    """Return a fault that is one command; it is healed by itself after *for_ms*."""

    def tell(lab: Lab, pick: int, for_ms: int) -> Steps:
        server = free_server(lab, pick)
        if server is None:
            return
        lab.fault(kind, name_of(lab, server), for_ms=for_ms)
        try:
            server.do(*[for_ms if word is FOR_MS else word for word in words])
        except AWAY:
            pass  # frozen at this very moment
        yield for_ms
        lab.healed(kind, name_of(lab, server))

    return tell


FOR_MS = object()


def _clock(kind: str, sign: int) -> Callable[[Lab, int, int], Steps]:
    def step(lab: Lab, pick: int, for_ms: int) -> Steps:
        server = free_server(lab, pick)
        if server is None or server.port in lab.stepped:
            return
        most = STEP_CLUSTER_MS if isinstance(lab.kind, Clustered) else STEP_MS
        ms = sign * (1 + pick % most)
        lab.stepped.add(server.port)
        lab.fault(kind, name_of(lab, server), for_ms=for_ms, step_ms=ms)
        try:
            lab.kind.step(server, ms)
            yield for_ms
        finally:
            lab.kind.step(server, 0)
            lab.stepped.discard(server.port)
            lab.stepped_at = now_ms()
            lab.healed(kind, name_of(lab, server))

    return step


def evict(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Take the lease of a run away, and every second time what the job's tokens rise from."""
    one = chosen(lab.live(lambda run: _may_lose(lab, run)), pick)
    server = free_server(lab, pick, lossy=True)
    if one is not None and server is not None:
        yield from evicting(lab, "evict", one, server, _keys(lab, one.start.job, pick))


def evicting(lab: Lab, kind: str, one: Running, server: Server, keys: list[str]) -> Steps:
    """Take *keys* away, the lease of a run among them; of a quorum, from *server* alone."""
    job, quorum = one.start.job, isinstance(lab.kind, Quorum)
    if not lab.is_calm(NO_TROUBLE | EVICTIONS):
        return
    try:
        server = server if quorum else lab.kind.holders(job)[0]
        if not server.do("EXISTS", keys[0]):
            return
    except (*AWAY, AssertionError):
        return
    lab.fault(kind, job, run_hit=one.start.run)
    one.hit = True
    if quorum:
        note_loss(lab, server, 0)
    else:
        lab.fragile_jobs[job] = now_ms() + FRAGILE_MS
    try:
        server.do("DEL", *keys)
        yield FRAGILE_MS
    finally:
        lab.fragile_jobs.pop(job, None)
        lab.healed(kind, job)


def _keys(lab: Lab, job: str, pick: int) -> list[str]:
    """Return what goes: tokens start anew from the clock, so that must have been right for long."""
    lease, fence = lease_key(job), f"cg:{{{job}}}:f"
    right = not lab.stepped and now_ms() - lab.stepped_at > RIGHT_FOR_MS
    return [lease, fence] if right and pick // 7 % 2 else [lease]


def lease_key(job: str) -> str:
    """Return where a server has the lease of a job."""
    return f"cg:{{{job}}}:l:0"


def _may_lose(lab: Lab, one: Running) -> bool:
    """Tell whether a run can take its lease again: nobody else asks for the job, and it lasts."""
    rivals = [o for o in lab.running.values() if o.start.job == one.start.job and o is not one]
    return not rivals and one.start.for_ms > HOLDS_AFTER_MS


def _restart(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Kill a server, and start it again with all it knew."""
    server = free_server(lab, pick)
    if server is None:
        return
    yield from away(lab, "restart with data", server, for_ms)


def away(lab: Lab, kind: str, server: Server, for_ms: int) -> Steps:
    """Kill *server*, and start it again."""
    name = name_of(lab, server)
    lab.fault(kind, name, for_ms=for_ms, **cuts(lab))
    server.kill()
    try:
        yield for_ms
    finally:
        server.start()
        lab.healed(kind, name)


def forget(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Kill a server, and start it again with nothing; it keeps what it is told after a while."""
    server = free_server(lab, pick, lossy=True)
    if server is None:
        return
    kind, name = "restart without data", name_of(lab, server)
    note_loss(lab, server, for_ms + QUARANTINE_MS)
    lab.fault(kind, name, for_ms=for_ms, loses=True, **cuts(lab))
    server.kill()
    lab.archives.append(lab.folder / f"archive-{len(lab.archives)}")
    move_data(server, lab.archives[-1])
    kept = server.args
    server.args = (*kept, "--appendonly", "no")
    try:
        yield for_ms
    finally:
        server.start()
        server.args = kept
        lab.back(kind, name)
    lab.kind.steady = True
    try:
        yield QUARANTINE_MS
    finally:
        lab.kind.steady = False
        keep_again(server)
        lab.healed(kind, name)


def keep_again(server: Server) -> None:
    """Have a server that was started without its file write one, with all it knows.

    Until that is done it would come back with nothing, should it be killed.
    """
    server.do("CONFIG", "SET", "appendonly", "yes")
    end = now_ms() + REWRITTEN_WITHIN_MS
    while "aof_rewrite_in_progress:0" not in info(server, "INFO", "persistence"):
        assert now_ms() < end, "the server does not write what it knows"
        time.sleep(0.01)


def cut_off(server: Server, begin: bool) -> None:
    """Let nothing come to a server or from it; whoever is on its own unix socket is not touched."""
    change = "-I" if begin else "-D"
    tool("iptables", "-w", change, "INPUT", "-d", server.host, "-j", "DROP")
    tool("iptables", "-w", change, "OUTPUT", "-s", server.host, "-j", "DROP")


def _cut(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Cut a server off from everybody."""
    server = free_server(lab, pick)
    if server is None:
        return
    yield from cutting(lab, "cut server", server, for_ms)


def cutting(lab: Lab, kind: str, server: Server, for_ms: int) -> Steps:
    """Cut *server* off from everybody."""
    lab.fault(kind, name_of(lab, server), for_ms=for_ms, **cuts(lab))
    cut_off(server, True)
    try:
        yield for_ms
    finally:
        cut_off(server, False)
        lab.healed(kind, name_of(lab, server))


KINDS = {
    "freeze server": _freeze("freeze server"),
    "freeze server for long": _freeze("freeze server for long"),
    "freeze most servers": freeze_most,
    "slow server": slow,
    "kill connections": _tell("kill connections", "CLIENT", "KILL", "TYPE", "NORMAL"),
    "pause clients": _tell("pause clients", "CLIENT", "PAUSE", FOR_MS),
    "forget scripts": _tell("forget scripts", "SCRIPT", "FLUSH"),
    "clock forwards": _clock("clock forwards", 1),
    "clock backwards": _clock("clock backwards", -1),
    "evict": evict,
    "restart with data": _restart,
    "restart without data": forget,
    "cut server": _cut,
}
