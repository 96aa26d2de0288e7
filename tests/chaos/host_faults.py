"""Faults of hosts: cut off from the servers, slow, losing packets, full, the database kept locked.

One at a time on each host, and none that keeps a holder from its heartbeat while a lease that was
taken away is not yet taken again. A full disk is a heavy fault, as a record that can go neither to
the store nor to the disk is lost: so no server fails meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable

from tests.chaos.lab import Lab, Steps, now_ms
from tests.chaos.namespaces import Host

Way = Callable[[Host, bool], bool]
"""Does something to a host, or undoes it; tells whether it could."""


def free_host(lab: Lab, pick: int) -> Host | None:
    """Return a host that nothing else has to itself."""
    free = [host for host in lab.hosts if not host.troubled]
    return free[pick % len(free)] if free and now_ms() >= lab.fragile_until else None


def _on_host(kind: str, way: Way, *, cuts: bool = False) -> Callable[[Lab, int, int], Steps]:
    def fault(lab: Lab, pick: int, for_ms: int) -> Steps:
        host = free_host(lab, pick)
        if host is None:
            return
        facts: dict[str, object] = {"cuts": [host.name]} if cuts else {}
        if way is fill and not lab.kind.servers:
            facts["loses"] = True  # the store and what is kept for it are on the same disk
        lab.fault(kind, host.name, for_ms=for_ms, **facts)
        host.troubled = True
        try:
            if way(host, True):
                yield for_ms
        finally:
            way(host, False)
            host.troubled = False
            lab.healed(kind, host.name)

    return fault


def cut(host: Host, begin: bool) -> bool:
    """Nothing comes through, either way."""
    change = "-I" if begin else "-D"
    done = [
        host.tool("iptables", "-w", change, chain, flag, "eth0", "-j", "DROP")
        for chain, flag in (("INPUT", "-i"), ("OUTPUT", "-o"))
    ]
    return all(done)


def lose(host: Host, begin: bool) -> bool:
    """A third of all packets is lost."""
    rule = ["-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", "0.3"]
    return host.tool("iptables", "-w", "-I" if begin else "-D", "INPUT", *rule, "-j", "DROP")


def slow(host: Host, begin: bool) -> bool:
    """Packets are late: by a fixed time, or by standing in line where the kernel has no netem."""
    if not begin:
        return host.tool("tc", "qdisc", "del", "dev", "eth0", "root")
    add = ("tc", "qdisc", "add", "dev", "eth0", "root")
    late = host.tool(*add, "netem", "delay", "120ms", "60ms", "loss", "2%")
    return late or host.tool(*add, "tbf", "rate", "48kbit", "burst", "1600", "latency", "800ms")


def half_open(lab: Lab, pick: int, for_ms: int) -> Steps:
    """Let the connections that stand lead nowhere, and new ones work."""
    host = free_host(lab, pick)
    ports = host.connections() if host is not None else []
    if host is None or not ports:
        return
    rules = [
        ("-p", "tcp", "-m", "multiport", "--sports", ",".join(map(str, ports[at : at + 15])))
        for at in range(0, len(ports), 15)
    ]
    kind = "half-open connections"
    lab.fault(kind, host.name, for_ms=for_ms)
    host.troubled = True
    try:
        for rule in rules:
            host.tool("iptables", "-w", "-I", "OUTPUT", *rule, "-j", "DROP")
        yield for_ms
    finally:
        for rule in rules:
            host.tool("iptables", "-w", "-D", "OUTPUT", *rule, "-j", "DROP")
        host.troubled = False
        lab.healed(kind, host.name)


def fill(host: Host, begin: bool) -> bool:
    """Not a byte is left on its disk."""
    path = host.disk / "filler"
    if not begin:
        path.unlink(missing_ok=True)
        return True
    number = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(number, bytes(size))
            except OSError:
                pass  # no room for that much
    finally:
        os.close(number)
    return True


def _lock_database(kind: str) -> Callable[[Lab, int, int], Steps]:
    def lock_database(lab: Lab, pick: int, for_ms: int) -> Steps:
        host = free_host(lab, pick)
        if host is None:
            return
        file = sqlite3.connect(host.state / "cronguard.db", timeout=0.2, isolation_level=None)
        told = False
        try:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return  # others were faster, all the time
            told = True
            lab.fault(kind, host.name, for_ms=for_ms, cuts="all")
            host.troubled = True
            yield for_ms
            file.execute("ROLLBACK")
        finally:
            file.close()
            if told:
                host.troubled = False
                lab.healed(kind, host.name)

    return lock_database


KINDS = {
    "cut host": _on_host("cut host", cut, cuts=True),
    "cut host for long": _on_host("cut host for long", cut, cuts=True),
    "lossy host": _on_host("lossy host", lose),
    "slow host": _on_host("slow host", slow),
    "full disk": _on_host("full disk", fill),
    "half-open connections": half_open,
    "lock database": _lock_database("lock database"),
    "lock database for long": _lock_database("lock database for long"),
}
