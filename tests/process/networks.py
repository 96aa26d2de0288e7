"""Networks of a test's own: namespaces, and wires between them that can be cut."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x4000_0000
LIBC = ctypes.CDLL(None, use_errno=True)


class Network:
    """A network namespace with nothing but a loopback; it goes with the last who is in it."""

    def __init__(self) -> None:
        with _staying():
            assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.do("ip link set lo up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it: whatever is started here stays there."""
        with _staying():
            assert LIBC.setns(self._fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield

    def do(self, command: str) -> None:
        """Run a command in it."""
        with self.inside():
            subprocess.run(command.split(), check=True, capture_output=True)

    def wire_to(self, other: Network, here: str, there: str) -> None:
        """Lay a wire: both ends are called `wire`, and have these addresses of one /24."""
        place = f"/proc/{os.getpid()}/fd/{other._fd}"
        self.do(f"ip link add wire type veth peer name wire netns {place}")
        for network, address in ((self, here), (other, there)):
            network.do(f"ip addr add {address}/24 dev wire")
            network.do("ip link set wire up")

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


@contextmanager
def _staying() -> Iterator[None]:
    """Come back to the namespace that we are in."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        assert LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)
