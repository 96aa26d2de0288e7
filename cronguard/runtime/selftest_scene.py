"""What the self-test's experiments share: throw-away processes, their deaths, and a whole run."""

from __future__ import annotations

import os
import signal
import sys
import time
from select import POLLIN, poll

from cronguard.runtime import kernel, launch
from cronguard.runtime.child import Stdio
from cronguard.runtime.clock import now_ms
from cronguard.runtime.tree import Tree, children_of, start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 15
"""No process of the test lives longer, whatever happens."""
PATIENCE_MS = 2_000
"""How long a death may take before it is said not to come."""

_TREE = f"""
import os, time
def pause():
    time.sleep({LONGEST_S})
    os._exit(0)
grandchild = os.fork()
if not grandchild:
    pause()
reader, writer = os.pipe()
middle = os.fork()
if not middle:
    os.setsid()
    daemon = os.fork()
    if not daemon:
        pause()
    os.write(writer, b"%d" % daemon)
    os._exit(0)
os.waitpid(middle, 0)
os.write(1, b"%d %d %s\\n" % (os.getpid(), grandchild, os.read(reader, 20)))
pause()
"""
"""A command with a grandchild in its group, and a daemon that has left group and session."""


class Fails(Exception):
    """The layer does not do what we rely on; the text says what happened instead."""


class Scene:
    """A real guardian with a command that has a daemon, below a process that plays the keeper."""

    def __init__(self, isolation: str = "auto") -> None:
        self._isolation = isolation
        go_r, self._go = os.pipe()
        self._go_r = go_r
        reader, writer = os.pipe()
        self.keeper = fork(lambda: self._play(writer))
        os.close(go_r)
        os.close(writer)
        child, grandchild, daemon = heard(reader)
        if isolation == "pidns":  # those are its own numbers
            [init] = children_of(self.guardian())
            child, daemon = children_of(init)
            [grandchild] = children_of(child)
        self.watched = Watched(child=child, grandchild=grandchild, daemon=daemon)

    def guardian(self) -> int:
        """Return the guardian's process number."""
        found = children_of(self.keeper)
        if not found:
            raise Fails("the guardian is gone before its time")
        return found[0]

    def stop_keeper(self, dies_at: int) -> None:
        """Have the keeper set its timer, and stop."""
        os.write(self._go, b"%d" % dies_at)
        _, status = os.waitpid(self.keeper, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise Fails("the keeper was killed before it was stopped")

    def _play(self, writer: int) -> None:
        os.close(self._go)
        command = [os.fsencode(word) for word in (sys.executable, "-I", "-S", "-c", _TREE)]
        stdio, env = Stdio(writer, None), dict(os.environb)
        link = launch.start(command, env, stdio, _no_mark, [], self._isolation)
        os.close(writer)
        link.send(b"spawn", b"once", b"behind")
        poller = poll()
        poller.register(self._go_r, POLLIN)
        poller.register(link.control.fileno(), POLLIN)
        while True:
            if any(number == self._go_r for number, _ in poller.poll(LONGEST_S * 1000)):
                self._stop(int(os.read(self._go_r, 20) or b"0"))
            if link.receive() is None:
                sweep()  # as the real one: the guardian is dead, and its orphans are ours
                return

    @staticmethod
    def _stop(dies_at: int) -> None:
        timer = kernel.DeadMan()
        timer.arm(dies_at)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(LONGEST_S)


class Watched:
    """Processes whose deaths are awaited. Zombies count as dead; a reused number does not live."""

    def __init__(self, **pids: int) -> None:
        self._alive = {name: (pid, start_of(pid)) for name, pid in pids.items()}
        for name, (_pid, start) in self._alive.items():
            if not start:
                raise Fails(f"the {name} was dead before its time")

    def died(self, began: int) -> str:
        """Wait until all are dead; return how long after *began* that was, as `3 ms`."""
        while True:
            left = [name for name, (pid, start) in self._alive.items() if start_of(pid) == start]
            took = max(now_ms() - began, 0)
            if not left:
                return f"{took} ms"
            if took > PATIENCE_MS:
                names = " and ".join(left).replace("_", " ")
                raise Fails(f"the {names} lived on for {PATIENCE_MS // 1000}s and more")
            time.sleep(0.000_5)


def fork(action: Callable[[], None]) -> int:
    """Do *action* in a process of its own; return its number."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def tell(writer: int, *numbers: int) -> None:
    """Tell the numbers to who waits in `heard`."""
    os.write(writer, b" ".join([b"%d" % number for number in numbers]) + b"\n")


def heard(reader: int) -> list[int]:
    """Return the numbers that a process of the experiment tells; closes the pipe."""
    poller = poll()
    poller.register(reader, POLLIN)
    try:
        line = os.read(reader, 100) if poller.poll(PATIENCE_MS) else b""
    finally:
        os.close(reader)
    if not line:
        raise Fails("the processes of the test did not start")
    return [int(word) for word in line.split()]


def _no_mark() -> None:
    """Leave no mark: there is no lease."""


def sweep() -> None:
    """End whatever the experiment left below us."""
    left, until = Tree(), now_ms() + PATIENCE_MS
    while not left.reap() and now_ms() < until:
        left.kill()
        time.sleep(0.002)
