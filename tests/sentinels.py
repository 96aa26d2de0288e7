"""A master, its replicas and the sentinels that watch them, on the loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.servers import Make, Server, binary, die_with_us, start_server

READY_S = 60
NAME = "mymaster"


class Watch:
    """Servers, of which one is the master, and sentinels."""

    def __init__(self, servers: list[Server], sentinels: list[Sentinel], name: str = NAME) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.name = name

    @property
    def url(self) -> str:
        """Return the store's URL."""
        nodes = ",".join([f"{one.host}:{one.port}" for one in self.sentinels])
        scheme = "rediss" if self.sentinels[0].tls else "redis"
        return f"{scheme}+sentinel://{nodes}/{self.name}/0"

    def master(self) -> Server:
        """Return the master that most sentinels name."""
        ports = [one.named(self.name) for one in self.sentinels if one.running]
        assert ports, "no sentinel runs"
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> list[Server]:
        """Return the servers that are not the master."""
        return [server for server in self.servers if server is not self.master()]

    def fail_over(self) -> None:
        """Have the sentinels replace a living master, and wait until all agree."""
        old = self.master()
        deadline = time.monotonic() + READY_S
        while not self.sentinels[0].accepts("SENTINEL", "FAILOVER", self.name):
            assert time.monotonic() < deadline, "the sentinels begin no failover"
            time.sleep(0.1)
        self.until_replaced(old)

    def until_replaced(self, old: Server) -> None:
        """Wait until all sentinels name another master than *old*, and it says that it is one."""
        deadline = time.monotonic() + READY_S
        while any(one.named(self.name) == old.port for one in self.sentinels if one.running):
            assert time.monotonic() < deadline, "the sentinels do not agree on another master"
            time.sleep(0.05)
        while self.master().do("ROLE")[0] != b"master":  # type: ignore[index]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def until_well(self) -> None:
        """Wait until the master has all its replicas, and each sentinel knows all of them."""
        deadline = time.monotonic() + READY_S
        while not self.is_well():
            assert time.monotonic() < deadline, "they do not come together"
            time.sleep(0.05)

    def is_well(self) -> bool:
        """Tell whether the master has its replicas, and each sentinel knows all of them."""
        role = self.master().do("ROLE")
        assert isinstance(role, list)
        others = len(self.servers) - 1
        if (
            role[0] != b"master"
            or len(role[2]) != others
            or not _acknowledged(self.master(), others)
        ):
            return False
        return all(
            one.knows(self.name, len(self.servers) - 1, len(self.sentinels) - 1)
            for one in self.sentinels
        )

    def stop(self) -> None:
        """End all."""
        for sentinel in self.sentinels:
            sentinel.stop()
        for server in self.servers:
            server.stop()


def _acknowledged(master: Server, replicas: int) -> bool:
    with master.client() as client:
        try:
            client.set("probe", "1")
        except redis.exceptions.ReadOnlyError:  # a moment ago it was the master
            return False
        return int(client.wait(replicas, 500)) >= replicas


class Sentinel(Server):
    """One sentinel: a server in another mode, with a file of its own to write to."""

    def __init__(
        self,
        folder: Path,
        flavour: str,
        settings: str,
        tls: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(folder, flavour, tls, host)
        self._file = folder / "sentinel.conf"
        lines = [f"{name[2:]} {value}\n" for name, value in zip(tls[::2], tls[1::2], strict=True)]
        lines.append(f"port 0\ntls-port {self.port}\n" if self.tls else f"port {self.port}\n")
        lines.append(f"bind {host}\nunixsocket {self.socket}\ndir {folder}\n{settings}")
        self._file.write_text("".join(lines))

    def start(self) -> None:
        """Start, and wait until it answers."""
        program = binary(self.flavour)
        assert program is not None
        log = self.folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [program, str(self._file), "--sentinel"],
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_us,
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert self.running, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.01)

    def named(self, name: str) -> int:
        """Return the port of the master that it names."""
        found = self.do("SENTINEL GET-MASTER-ADDR-BY-NAME", name)
        return int(found[1]) if found else 0  # type: ignore[index]

    def accepts(self, *words: str) -> bool:
        """Tell whether it does what it is told, rather than refuse."""
        try:
            self.do(*words)
        except Exception:  # noqa: BLE001  (whatever it has against it)
            return False
        return True

    def knows(self, name: str, replicas: int, others: int) -> bool:
        """Tell whether it knows all the others."""
        with self.client() as client:
            client.response_callbacks.clear()
            flat = client.execute_command("SENTINEL", "MASTER", name)
        facts = {
            key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2], strict=True)
        }
        counts = int(facts["num-slaves"]), int(facts["num-other-sentinels"])
        return counts >= (replicas, others) and facts["flags"] == "master"


def start_watch(
    folder: Path,
    flavour: str = "redis",
    *args: str,
    replicas: int = 2,
    sentinels: int = 3,
    more: str = "",
    tls: tuple[str, ...] = (),
    make: Make = Server,
    watchers_host: Callable[[], str] = lambda: "127.0.0.1",
) -> Watch:
    """Return a master with replicas and sentinels; the caller stops them.

    *tls* is how all of them serve it: nothing is said in plain text then, to each other neither.
    """
    among = ("--tls-replication", "yes") if tls else ()
    servers: list[Server] = []
    watchers: list[Sentinel] = []
    try:
        for number in range(1 + replicas):
            own = folder / f"server{number}"
            own.mkdir(parents=True)
            follow = ("--replicaof", servers[0].host, str(servers[0].port)) if servers else ()
            prompt = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
            words = (*prompt, *follow, *args, *tls, *among)
            servers.append(start_server(own, flavour, *words, make=make))
        quorum = sentinels // 2 + 1
        settings = (
            f"sentinel monitor {NAME} {servers[0].host} {servers[0].port} {quorum}\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 6000\n{more}"
        )
        for number in range(sentinels):
            own = folder / f"sentinel{number}"
            own.mkdir()
            watchers.append(Sentinel(own, flavour, settings, (*tls, *among), watchers_host()))
            watchers[-1].start()
        watch = Watch(servers, watchers)
        watch.until_well()
    except BaseException:
        for one in (*watchers, *servers):
            one.stop()
        raise
    return watch
