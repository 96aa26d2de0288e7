"""The kinds of store: their servers in the lab, and what can be asked of each of them.

All keep what they are told (`--appendonly`; without fsync, as no fault here takes the kernel), on
addresses of the lab's bridge. We ask them by their unix sockets, which no fault of the network
touches, and never wait long for an answer.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis

from tests.chaos.namespaces import Network
from tests.clusters import Cluster, start_cluster
from tests.sentinels import Sentinel, Watch, start_watch
from tests.servers import FLAVOURS, Server, binary, start_server
from tests.skew import Skew, build, compiler

PATIENCE_S = 0.3
KEEPS = ("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
OPEN = ("--protected-mode", "no")
AWAY = (redis.RedisError, OSError)
"""What asking a server that is down, stopped or starting may raise."""


class Kind:
    """Servers that are one store together; without any, it is the file of one host."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.network = network
        self.flavour = next((name for name in FLAVOURS if binary(name)), "none")
        self.servers: list[Server] = []
        self.sentinels: list[Sentinel] = []
        self.clocks: dict[int, Skew] = {}
        self.stores: tuple[str, ...] = ()
        self.frozen: Counter[int] = Counter()
        """Servers (pids) that are stopped now, and how many faults want them so."""
        self.steady = False
        """Whether a fault under way needs the servers to be left alone otherwise."""
        self._shim = build(folder) if compiler() is not None else None
        self.start()

    def start(self) -> None:
        """Start what there is to start, and set `stores`."""

    def make(self, folder: Path, flavour: str, args: tuple[str, ...]) -> Server:
        """Make a server with an address and a clock of its own."""
        host = self.network.server_address()
        more = (*args, *KEEPS, *OPEN, "--bind-source-addr", host)
        server = Server(folder, flavour, more, host)
        if self._shim is not None:
            clock = Skew(self._shim, folder / "skew")
            self.clocks[server.port] = clock
            server.env = clock.env
        return server

    def be_impatient(self) -> None:
        """From now on, do not wait long for a server that does not answer."""
        for one in (*self.servers, *self.sentinels):
            one.patience_s = PATIENCE_S

    def step(self, server: Server, ms: int) -> bool:
        """Set a server's clock so far from the true time; False where it has none of its own."""
        clock = self.clocks.get(server.port)
        if clock is not None:
            clock.step(ms)
        return clock is not None

    def holders(self, job: str) -> list[Server]:
        """Return the servers that should have the job's lease."""
        return self.servers

    def remember_role(self, server: Server) -> None:
        """Have a server that is about to die come back as what it is now."""

    def is_well(self) -> bool:
        """Tell whether every server does what it is there for."""
        if self.frozen:
            return False
        try:
            return all(one.do("PING") for one in self.servers) and self._is_whole()
        except AWAY:
            return False
        except AssertionError:  # of the helpers: nobody owns a slot, nobody is the master
            return False

    def _is_whole(self) -> bool:
        return True

    def stop(self) -> None:
        """End all servers."""
        for one in (*self.sentinels, *self.servers):
            one.stop()


class Embedded(Kind):
    """SQLite: no server at all, and only one host."""


class Single(Kind):
    """One server."""

    def start(self) -> None:
        """Start it."""
        self.servers = self.independent(1)
        self.stores = (self.servers[0].tcp_url,)

    def independent(self, count: int) -> list[Server]:
        """Return servers that know nothing of each other."""
        found = []
        for number in range(count):
            own = self.folder / f"server{number}"
            own.mkdir()
            found.append(start_server(own, self.flavour, make=self.make))
        return found


class Quorum(Single):
    """Three independent servers, of which two decide."""

    def start(self) -> None:
        """Start them."""
        self.servers = self.independent(3)
        self.stores = tuple(server.tcp_url for server in self.servers)


class Watched(Kind):
    """A master, one replica, three sentinels.

    One replica, not two: `--min-replicas 1` counts on the heir being the one that was told.
    """

    def start(self) -> None:
        """Start them."""
        self.watch: Watch = start_watch(
            self.folder,
            self.flavour,
            replicas=1,
            make=self.make,
            watchers_host=self.network.server_address,
        )
        self.servers, self.sentinels = self.watch.servers, self.watch.sentinels
        self.stores = (self.watch.url,)

    def holders(self, job: str) -> list[Server]:
        """Return the master."""
        return [self.watch.master()]

    def remember_role(self, server: Server) -> None:
        """Do what a sentinel does in a server's configuration file: here, it has none."""
        args = list(server.args)
        if "--replicaof" in args:
            at = args.index("--replicaof")
            del args[at : at + 3]
        master = self.watch.master()
        if master is not server:
            args += ["--replicaof", master.host, str(master.port)]
        server.args = tuple(args)

    def _is_whole(self) -> bool:
        return self.watch.is_well()


class Clustered(Kind):
    """Three masters with a replica each."""

    def start(self) -> None:
        """Start them."""
        self.cluster: Cluster = start_cluster(self.folder, self.flavour, make=self.make)
        self.servers = self.cluster.servers
        self.stores = (self.cluster.url,)

    def holders(self, job: str) -> list[Server]:
        """Return the master that has the job's slot."""
        return [self.cluster.owner(job)]

    def _is_whole(self) -> bool:
        masters = self.cluster.current_masters()
        if len(masters) != 3 or not self.cluster.is_well():
            return False
        return all(self.followers(master) == 1 for master in masters)

    def followers(self, master: Server) -> int:
        """Return how many replicas have all that the master has."""
        with master.client() as client:
            client.response_callbacks.clear()
            text = client.execute_command("INFO", "replication")
        return int(text.count(b"state=online"))


MAKERS: dict[str, Callable[[Path, Network], Kind]] = {
    "sqlite": Embedded,
    "redis": Single,
    "sentinel": Watched,
    "cluster": Clustered,
    "quorum": Quorum,
}


def move_data(server: Server, target: Path) -> None:
    """Take a dead server's data away, into *target*."""
    target.mkdir(parents=True)
    for path in server.folder.iterdir():
        if path.name.startswith(("appendonly", "dump")):
            shutil.move(path, target / path.name)
