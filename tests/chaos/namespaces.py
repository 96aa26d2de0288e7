"""Hosts that are namespaces: each its own network, its own name, its own boot and its own disk.

    the lab     network, mount, UTS, IPC and PID namespaces around everything; has all servers
      bridge    one network, 10.77.0.0/16; a server has an address of its own on it
      hosts     network, mount and UTS namespaces each, with a virtual wire to the bridge

Nothing of it can be left behind: `unshare --kill-child` ends the first process of the PID
namespace with whoever started it, the kernel ends all others with that one, and the rest of the
namespaces with the last process in them. So no names need to be found again and removed.

A host has no process of its own: this process holds its namespaces by descriptors, and steps in for
as long as it takes to start something there (setns(2), some 10 us), so it is the parent of every
keeper, and sees them end.

Roads not taken: `ip netns exec` a run (a process and 5 ms each), a launcher in every host (what it
sees must be told to us, later), a PID namespace a host (records have other pids than we see).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEWNS, NEWUTS, NEWNET = 0x00020000, 0x04000000, 0x40000000
KINDS = ("net", "uts", "mnt")
BRIDGE = "cgchaos0"
NETWORK = "10.77"
TOOLS = ("unshare", "ip", "iptables", "tc", "mount")
INSIDE = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Say what this machine lacks; nothing if all is there."""
    if os.geteuid() != 0:
        return "it needs root, to make namespaces"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"it needs {', '.join(lacking)} (iproute2, iptables, util-linux)" if lacking else ""


def unshare(flags: int) -> None:
    """Put this process into new namespaces. Raises: OSError."""
    _check(_libc.unshare(flags))


def enter(number: int) -> None:
    """Put this process into the namespace behind a descriptor. Raises: OSError."""
    _check(_libc.setns(number, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def tool(*words: str) -> bool:
    """Run one of the tools where this process is; tell whether it did what it was told."""
    return subprocess.run(words, capture_output=True).returncode == 0


def must(*words: str) -> None:
    """Run one of the tools, which must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


def _descriptors() -> list[int]:
    return [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS]


class Network:
    """The bridge of the lab, and the addresses on it. `home` is where this process belongs."""

    def __init__(self) -> None:
        self.home = _descriptors()
        self._servers = 0
        self._hosts = 0
        must("ip", "link", "set", "lo", "up")
        must("ip", "link", "add", BRIDGE, "type", "bridge")
        must("ip", "addr", "add", f"{NETWORK}.0.1/16", "dev", BRIDGE)
        must("ip", "link", "set", BRIDGE, "up")

    def server_address(self) -> str:
        """Return a further address of the lab itself, for a server to listen on."""
        self._servers += 1
        address = f"{NETWORK}.1.{self._servers}"
        must("ip", "addr", "add", f"{address}/16", "dev", BRIDGE)
        return address

    def host(self, name: str, folder: Path, disk: str) -> Host:
        """Return a new host on the bridge, with a disk of that size below *folder*."""
        self._hosts += 1
        return Host(self, name, f"{NETWORK}.2.{self._hosts}", folder, disk)


class Host:
    """One host. `disk` is its own file system, and holds its state folder."""

    def __init__(self, network: Network, name: str, address: str, folder: Path, disk: str) -> None:
        self.name = name
        self.address = address
        self.disk = folder / "disk"
        self.state = self.disk / "state"
        self.disk.mkdir(parents=True)
        must("mount", "-t", "tmpfs", "-o", f"size={disk},mode=700", name, str(self.disk))
        boot = folder / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        self._home = network.home
        self._inside = self._make(boot)
        self.troubled = False
        """Whether some fault has it to itself at the moment."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this process be on the host meanwhile, and whatever it starts stay there."""
        for number in self._inside:
            enter(number)
        try:
            yield
        finally:
            for number in self._home:
                enter(number)

    def tool(self, *words: str) -> bool:
        """Run one of the tools on the host; tell whether it did what it was told."""
        with self.entered():
            return tool(*words)

    def connections(self) -> list[int]:
        """Return the local ports of its established TCP connections."""
        with self.entered():
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        return [int(words[1].partition(":")[2], 16) for words in fields if words[3] == "01"]

    def queues(self, pid: int, servers: set[int]) -> dict[int, tuple[int, int]]:
        """Return, by local port, what a process's connections to these ports have under way.

        In bytes: what it sent and nobody has acknowledged; what has come and it has not read.
        """
        held = set()
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                held.add(os.readlink(path))
        with self.entered():
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        found = {}
        for words in [line.split() for line in lines]:
            port, other = (int(words[at].partition(":")[2], 16) for at in (1, 2))
            if words[3] == "01" and other in servers and f"socket:[{words[9]}]" in held:
                sent, come = (int(part, 16) for part in words[4].split(":"))
                found[port] = (sent, come)
        return found

    def _make(self, boot: Path) -> list[int]:
        """Make its namespaces, and return descriptors of them."""
        wire = f"cg{self.address.rpartition('.')[2]}"
        unshare(NEWNET | NEWUTS | NEWNS)
        inside = _descriptors()
        try:
            socket.sethostname(self.name)
            must("mount", "--bind", str(boot), "/proc/sys/kernel/random/boot_id")
            must("ip", "link", "set", "lo", "up")
            # PID 1 of the lab's PID namespace is in the lab's network.
            must("ip", "link", "add", "eth0", "type", "veth", "peer", "name", wire, "netns", "1")
            must("ip", "addr", "add", f"{self.address}/16", "dev", "eth0")
            must("ip", "link", "set", "eth0", "up")
        finally:
            for number in self._home:
                enter(number)
        must("ip", "link", "set", wire, "master", BRIDGE, "up")
        return inside
