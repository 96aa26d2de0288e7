"""A Redis Cluster on the loopback: three masters with a replica each, or without."""

from __future__ import annotations

import time
from pathlib import Path

from redis.crc import key_slot

from tests.servers import Make, Server, free_port, start_server

READY_S = 60
SLOTS = 16_384


class Cluster:
    """Servers that are one Cluster. Masters come first in `servers`, then their replicas."""

    def __init__(self, servers: list[Server], masters: int) -> None:
        self.servers = servers
        self.masters = servers[:masters]
        self.ids = {server.port: info(server, "CLUSTER", "MYID") for server in servers}
        scheme = "rediss" if servers[0].tls else "redis"
        self.url = f"{scheme}+cluster://" + ",".join([f"{one.host}:{one.port}" for one in servers])

    def stop(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.stop()

    def flush(self) -> None:
        """Empty all masters."""
        for server in self.current_masters():
            server.do("FLUSHALL")

    def by_port(self, port: int) -> Server:
        """Return the server that listens there."""
        return next(server for server in self.servers if server.port == port)

    def current_masters(self) -> list[Server]:
        """Return who is a master now, as the servers say themselves."""
        return [one for one in self.servers if one.running and one.do("ROLE")[0] == b"master"]  # type: ignore[index]

    def slot(self, job: str, namespace: str = "cg") -> int:
        """Return the slot that a job's keys are in."""
        return int(key_slot(f"{namespace}:{{{job}}}:f".encode()))

    def owner(self, job: str, namespace: str = "cg") -> Server:
        """Return the master that has the job's slot."""
        slot = self.slot(job, namespace)
        for server in self.current_masters():
            for line in info(server, "CLUSTER", "NODES").splitlines():
                words = line.split(" ")
                if "myself" in words[2] and "master" in words[2] and _has(words[8:], slot):
                    return server
        raise AssertionError(f"nobody has slot {slot}")

    def wait(self) -> None:
        """Wait until all running servers agree that all is well, and who has which slot.

        A replica that has not heard of a slot that moved to its master loses it as his heir.
        """
        deadline = time.monotonic() + READY_S
        while not self.is_well():
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.05)

    def is_well(self) -> bool:
        """Tell whether they do so now."""
        return self._agree([server for server in self.servers if server.running])

    @staticmethod
    def _agree(servers: list[Server]) -> bool:
        views = {_view(server) for server in servers}
        return len(views) == 1 and all(_well(server) for server in servers)

    def begin_move(self, job: str, target: Server) -> Server:
        """Have the job's slot on its way to *target*, with no key moved yet; return its owner."""
        slot, source = self.slot(job), self.owner(job)
        target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source.port])
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target.port])
        return source

    def slots_of(self, master: Server) -> list[int]:
        """Return the slots that a master says it has, in order."""
        lines = info(master, "CLUSTER", "NODES").splitlines()
        words = next(line.split(" ") for line in lines if "myself" in line)
        return [slot for slot in range(SLOTS) if _has(words[8:], slot)]

    def other_than(self, master: Server) -> Server:
        """Return another master."""
        return next(one for one in self.current_masters() if one is not master)

    def keys_of(self, job: str, server: Server, namespace: str = "cg") -> list[str]:
        """Return the names of the job's keys that *server* has."""
        found = server.do("KEYS", f"{namespace}:{{{job}}}:*")
        assert isinstance(found, list)
        return sorted([key.decode() for key in found])

    def replica_of(self, master: Server) -> Server:
        """Return who follows *master*."""
        for server in self.servers:
            role = server.do("ROLE") if server is not master else None
            if isinstance(role, list) and role[0] == b"slave" and role[2] == master.port:
                return server
        raise AssertionError("nobody follows it")

    def until_promoted(self, server: Server) -> None:
        """Wait until it is a master."""
        deadline = time.monotonic() + READY_S
        while server.do("ROLE")[0] != b"master":  # type: ignore[index]
            assert time.monotonic() < deadline, "it is no master"
            time.sleep(0.02)

    def stop_moves(self, job: str) -> None:
        """Leave the job's slot with its owner, though keys of it be elsewhere."""
        for server in self.current_masters():
            server.do("CLUSTER", "SETSLOT", self.slot(job), "STABLE")

    def move_key(self, source: Server, target: Server, key: str) -> None:
        """Move one key."""
        source.do("MIGRATE", target.host, target.port, key, 0, 5_000)

    def move_back(self, source: Server, target: Server, job: str, key: str) -> None:
        """Move a key that has gone to *target* already back to the slot's owner."""
        slot = self.slot(job)
        source.do("CLUSTER", "SETSLOT", slot, "STABLE")  # or it would answer ASK
        self.move_key(target, source, key)
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target.port])

    def end_move(self, job: str, target: Server) -> None:
        """Move what is left, and let *target* own the slot."""
        slot, source = self.slot(job), self.owner(job)
        while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            for key in keys:
                self.move_key(source, target, key.decode())
        for server in (target, source, *self.current_masters()):
            server.do("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target.port])
        self.wait()


def start_cluster(
    folder: Path,
    flavour: str = "redis",
    *args: str,
    masters: int = 3,
    replicas: int = 1,
    tls: tuple[str, ...] = (),
    make: Make = Server,
) -> Cluster:
    """Return a running Cluster; the caller stops it. *tls* is how its nodes serve it."""
    among = ("--tls-cluster", "yes", "--tls-replication", "yes") if tls else ()
    servers: list[Server] = []
    buses: list[int] = []
    try:
        for number in range(masters * (1 + replicas)):
            own = folder / str(number)
            own.mkdir(parents=True)
            buses.append(free_port())
            more: tuple[str, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
            more += ("--cluster-port", str(buses[-1]), "--repl-diskless-sync-delay", "0")
            servers.append(start_server(own, flavour, *more, *args, *tls, *among, make=make))
        first, *others = servers
        for number, server in enumerate(servers[:masters]):
            begin, end = SLOTS * number // masters, SLOTS * (number + 1) // masters - 1
            server.do("CLUSTER", "ADDSLOTSRANGE", begin, end)
            server.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in others:
            server.do("CLUSTER", "MEET", first.host, first.port, buses[0])
        cluster = Cluster(servers, masters)
        _until_met(servers)
        for number, server in enumerate(servers[masters:]):
            master = servers[number % masters]
            server.do("CLUSTER", "REPLICATE", cluster.ids[master.port])
        cluster.wait()
        for master in servers[:masters]:
            until_followed(master, replicas)
    except BaseException:
        for server in servers:
            server.stop()
        raise
    return cluster


def _until_met(servers: list[Server]) -> None:
    deadline = time.monotonic() + READY_S
    while any(_known(server) < len(servers) for server in servers):
        assert time.monotonic() < deadline, "the nodes do not meet"
        time.sleep(0.05)


def until_followed(master: Server, replicas: int = 1) -> None:
    """Wait until so many replicas follow."""
    deadline = time.monotonic() + READY_S
    while info(master, "INFO", "replication").count("state=online") < replicas:
        assert time.monotonic() < deadline, "the replicas do not follow"
        time.sleep(0.05)


def info(server: Server, *words: str) -> str:
    """Return what it answers, as text and unparsed."""
    with server.client() as client:
        client.response_callbacks.clear()
        answer = client.execute_command(*words)
    assert isinstance(answer, bytes)
    return answer.decode()


def _known(server: Server) -> int:
    text = info(server, "CLUSTER", "INFO")
    handshaking = info(server, "CLUSTER", "NODES").count("handshake")
    return int(text.partition("cluster_known_nodes:")[2].split()[0]) - handshaking


def _well(server: Server) -> bool:
    return "cluster_state:ok" in info(server, "CLUSTER", "INFO")


def _view(server: Server) -> str:
    """Return who has which slot, as this node sees it."""
    lines = [line.split(" ") for line in info(server, "CLUSTER", "NODES").splitlines()]
    owners = [(words[0], [part for part in words[8:] if part[0] != "["]) for words in lines]
    return str(sorted([(name, slots) for name, slots in owners if slots]))


def _has(ranges: list[str], slot: int) -> bool:
    for word in ranges:
        if word.startswith("["):
            continue
        first, _, last = word.partition("-")
        if int(first) <= slot <= int(last or first):
            return True
    return False
