"""Hunts: faults at a run that lasts, in steps that each wait to see the one before done.

What a store could do wrong without anybody noticing, unless more comes together than chance brings:

    evict while it lasts   the lease goes; much later, while the run still goes, others ask for it
    late reply             the keeper is stopped while the reply to a renewal is on its way to it,
                           reads it late, and is cut off from then on
    lost release           the reply to a release is lost; it is sent again, when the job is another
                           one's, and somebody waits

Where a connection stands is read from the kernel (Host.queues): nothing is timed, and nothing is
put between the runs and their store. To keep replies back, packets to a port are dropped; they come
again by themselves, as TCP sends them until they are acknowledged.
"""

from __future__ import annotations

import signal

from tests.chaos.host_faults import cut
from tests.chaos.kinds import AWAY, Quorum
from tests.chaos.lab import Lab, Running, Steps, now_ms
from tests.chaos.namespaces import Host
from tests.chaos.server_faults import LOSSY_MS, evicting, free_server, lease_key
from tests.servers import Server

LOOK_MS = 10
ASKS_WITHIN_MS = 2_500
"""A heartbeat comes every 1.5 s."""
COMES_WITHIN_MS = 1_500
"""What was kept back is sent again after 0.2, 0.6 and 1.4 s."""
CUT_MS = 9_000
"""After the stop: whoever counts from the reply gives up later than all that is promised."""
AGAIN_MS, TRIES = 150, 60
ENDS_WITHIN_MS = 4_000
EVICT = "evict while it lasts"
REFUSE = ("-j", "REJECT", "--reject-with", "tcp-reset")


class Filter:
    """Rules for some ports of a host; none is left when it is over."""

    def __init__(self, host: Host, ports: list[int]) -> None:
        self._host = host
        self._ports = ",".join(map(str, ports[:15]))
        self._rules: list[tuple[str, ...]] = []

    def keep_replies(self) -> None:
        """Let nothing come to these ports."""
        self._add("INPUT", "--dports", "-j", "DROP")

    def break_off(self) -> None:
        """Let whatever is still sent from these ports end its connection."""
        self._add("OUTPUT", "--sports", *REFUSE)

    def lift(self) -> None:
        """Let all pass again."""
        while self._rules:
            self._host.tool("iptables", "-w", "-D", *self._rules.pop())

    def _add(self, chain: str, which: str, *verdict: str) -> None:
        rule = (chain, "-p", "tcp", "-m", "multiport", which, self._ports, *verdict)
        self._rules.append(rule)
        self._host.tool("iptables", "-w", "-I", *rule)


def queues(lab: Lab, one: Running) -> dict[int, tuple[int, int]]:
    """Return what a run's connections to the servers have under way; not those to sentinels."""
    return one.host.queues(one.pid, {server.port for server in lab.kind.servers})


def late_reply(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Have a keeper read the reply to a renewal long after it was asked for, and none after it."""
    one = lab.prey(pick)
    if one is None or one.host.troubled or now_ms() < lab.fragile_until:
        return
    host, ports = one.host, list(queues(lab, one))
    if not ports:
        return
    kept = Filter(host, ports)
    host.troubled = one.hit = True
    lab.fault("late reply", host.name, for_ms=for_ms, run_hit=one.start.run)
    try:
        kept.keep_replies()
        end = now_ms() + ASKS_WITHIN_MS
        while not _asked(lab, one) and now_ms() < end:
            yield LOOK_MS
        yield from _stopped(lab, one, kept, for_ms)
    finally:
        kept.lift()
        host.troubled = False
        lab.healed("late reply", host.name)


def _asked(lab: Lab, one: Running) -> bool:
    return any(sent for sent, _ in queues(lab, one).values())


def _stopped(lab: Lab, one: Running, kept: Filter, for_ms: int) -> Steps:
    """Stop the keeper, let the reply come, cut the host off, and let the keeper find both."""
    stopped_at = now_ms()
    lab.events.tell("stopped", run=one.start.run, whom="keeper")
    lab.signal(one.pid, signal.SIGSTOP)
    is_stopped, is_cut = True, False
    try:
        kept.lift()
        while not _has_come(lab, one) and now_ms() < stopped_at + COMES_WITHIN_MS:
            yield LOOK_MS
        is_cut = True
        lab.fault("cut after it", one.host.name, cuts=[one.host.name])
        cut(one.host, True)
        yield max(1, stopped_at + for_ms - now_ms())
        is_stopped = False
        _let_go_on(lab, one)
        yield CUT_MS
    finally:
        if is_stopped:
            _let_go_on(lab, one)
        if is_cut:
            cut(one.host, False)
            lab.healed("cut after it", one.host.name)


def _let_go_on(lab: Lab, one: Running) -> None:
    lab.events.tell("continued", run=one.start.run, whom="keeper")
    if not one.over:  # else it was reaped, and the number may be somebody else's
        lab.signal(one.pid, signal.SIGCONT)


def _has_come(lab: Lab, one: Running) -> bool:
    """Tell whether all that was asked is answered, and the keeper has not read it."""
    found = queues(lab, one).values()
    return bool(found) and not any(sent for sent, _ in found) and any(come for _, come in found)


def evict_while_it_lasts(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Take a run's lease away; nobody else asks for the job until it can have been taken again.

    A quorum loses it on one server, and on the others when that one must have it again.
    """
    one = lab.prey(pick)
    server = free_server(lab, pick, lossy=True)
    if one is None or server is None:
        return
    yield from evicting(lab, EVICT, one, server, [lease_key(one.start.job)])
    if one.hit and isinstance(lab.kind, Quorum):
        yield LOSSY_MS
        yield from _evict_elsewhere(lab, one, server)
    if one.hit:
        lab.awaited.discard(one.start.job)


def _evict_elsewhere(lab: Lab, one: Running, server: Server) -> Steps:
    """Take it away on another server as well, as soon as that may forget something."""
    for _ in range(TRIES):
        others = [other for other in lab.kind.servers if other is not server]
        free = free_server(lab, lab.kind.servers.index(others[0]), lossy=True)
        lost_at = lab.lossy_until.get(free.port) if free in others and free is not None else None
        if free is not None and free in others and not one.over:
            yield from evicting(lab, EVICT, one, free, [lease_key(one.start.job)])
            if lab.lossy_until.get(free.port) != lost_at:
                return
        yield AGAIN_MS


def lose_release(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Have a run's release done and its reply lost, while others wait for the job."""
    one = lab.prey(pick)
    if one is None or one.host.troubled or _lease(lab, one) is None or _waiting(lab, one) < 2:
        return
    host, ports = one.host, list(queues(lab, one))
    if not ports:
        return
    filter_ = Filter(host, ports)
    host.troubled = one.hit = True
    lab.fault("lost release", host.name, run_hit=one.start.run)
    try:
        before = _lease(lab, one)
        filter_.keep_replies()
        lab.events.tell("termed", run=one.start.run, whom="keeper", signal=int(signal.SIGTERM))
        lab.signal(one.pid, signal.SIGTERM)
        end = now_ms() + ENDS_WITHIN_MS
        while _lease(lab, one) == before and now_ms() < end:
            yield LOOK_MS
        filter_.break_off()
        while not one.over and now_ms() < end:
            yield LOOK_MS
    finally:
        filter_.lift()
        host.troubled = False
        lab.healed("lost release", host.name)


def _lease(lab: Lab, one: Running) -> object:
    """Return whose the job is, as the server says it; None if it does not say."""
    try:
        return lab.kind.holders(one.start.job)[0].do("GET", lease_key(one.start.job))
    except (*AWAY, AssertionError):
        return None


def _waiting(lab: Lab, one: Running) -> int:
    """Return how many are in the job's queue."""
    job = one.start.job
    try:
        return int(str(lab.kind.holders(job)[0].do("ZCARD", f"cg:{{{job}}}:w")))
    except (*AWAY, AssertionError):
        return 0


KINDS = {
    "late reply": late_reply,
    EVICT: evict_while_it_lasts,
    "lost release": lose_release,
}
