"""Which of the kernel's means to end a run work on this host, found by using them: for `doctor`.

Throw-away processes play keeper, guardian and command, and are killed in each way that counts. All
of it happens below a process of its own, which is started afresh (a fork of a process that has
threads would not be like a real run), is a subreaper, and ends whatever is left after each
experiment. What escapes even that ends by itself after some seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from select import POLLIN, poll

from cronguard.core.exits import OWN_FAILURE
from cronguard.runtime import guardian, kernel
from cronguard.runtime.cage import own_cgroup
from cronguard.runtime.child import Stdio
from cronguard.runtime.clock import now_ms
from cronguard.runtime.tree import Tree, children_of, start_of, stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 20
LONGEST_S = 15
"""No process of the test lives longer, whatever happens."""
PATIENCE_MS = 2_000
"""How long a death may take before it is said not to come."""
STOPPED_FOR_MS = 50
TIMER = "dead man's timer"
PIDFD = "pidfd"
CGROUP = "cgroup v2"

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
_START = """
import sys
sys.path.append(sys.argv[1])
from cronguard.runtime import selftest
selftest.main()
"""


class Finding:
    """What was found of one layer. `holds` None: it is not there, and nothing depends on it."""

    __slots__ = ("holds", "layer", "text")

    def __init__(self, layer: str, holds: bool | None, text: str) -> None:
        self.layer = layer
        self.holds = holds
        self.text = text


class _Fails(Exception):
    """The layer does not do what we rely on; the text says what happened instead."""


def findings() -> list[Finding]:
    """Test all layers, in about half a second. Raises: OSError if the test cannot be started."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [sys.executable, "-I", "-c", _START, home]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(110, f"the self-test did not end within {LIMIT_S}s") from None
    try:
        return [Finding(*found) for found in json.loads(done.stdout)]
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise OSError(5, f"the self-test ended with status {done.returncode} {last}") from None


def main() -> None:
    """Be the test's own process: try every layer, and print what was found."""
    kernel.die_with_parent(signal.SIGKILL)
    kernel.become_subreaper()
    found = []
    for layer, experiment in _EXPERIMENTS:
        try:
            holds, text = experiment()
        except _Fails as failure:
            holds, text = False, str(failure)
        except OSError as error:
            holds, text = False, f"cannot be used: {os.strerror(error.errno or 0).lower()}"
        found.append([layer, holds, text])
        _sweep()
    os.write(1, json.dumps(found).encode())


def _sweep() -> None:
    """End whatever the experiment left below us."""
    left, until = Tree(), now_ms() + PATIENCE_MS
    while not left.reap() and now_ms() < until:
        left.kill()
        time.sleep(0.002)


# -- one layer at a time --------------------------------------------------------------------------


def _parent_death() -> tuple[bool, str]:
    """A process dies with its parent."""
    reader, writer = os.pipe()

    def child() -> None:
        kernel.die_with_parent(signal.SIGKILL)
        _tell(writer, os.getpid())
        time.sleep(LONGEST_S)

    def parent() -> None:
        _fork(child)
        time.sleep(LONGEST_S)

    first = _fork(parent)
    os.close(writer)
    watched = _Watched(child=_heard(reader)[0])
    began = now_ms()
    os.kill(first, signal.SIGKILL)
    return True, f"a process is dead {watched.died(began)} after its parent"


def _group_lifeline() -> tuple[bool, str]:
    """A whole process group dies when a pipe is closed, a stopped member as well."""
    reader, writer = os.pipe()
    life_r, life_w = os.pipe()

    def member() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(LONGEST_S)

    def leader() -> None:
        os.close(life_w)
        os.setpgid(0, 0)
        if not kernel.kill_group_when_closed(life_r, os.getpid()):
            os._exit(OWN_FAILURE)
        stopped = _fork(member)
        os.waitpid(stopped, os.WUNTRACED)
        _tell(writer, os.getpid(), stopped)
        time.sleep(LONGEST_S)

    _fork(leader)
    os.close(writer)
    one, other = _heard(reader)
    watched = _Watched(leader=one, stopped_member=other)
    began = now_ms()
    os.close(life_w)
    took = watched.died(began)
    os.close(life_r)
    return True, f"a process group is dead {took} after its pipe was closed, stopped members too"


def _subreaper() -> tuple[bool, str]:
    """A daemon becomes the child of the nearest subreaper."""
    reader, writer = os.pipe()

    def daemon() -> None:
        os.setsid()
        _tell(writer, os.getpid())
        time.sleep(LONGEST_S)

    def middle() -> None:
        _fork(daemon)

    def reaper() -> None:
        kernel.become_subreaper()
        os.waitpid(_fork(middle), 0)
        time.sleep(LONGEST_S)

    above = _fork(reaper)
    os.close(writer)
    pid = _heard(reader)[0]
    until = now_ms() + PATIENCE_MS
    while now_ms() < until:
        fields = stat_fields(pid)
        if fields is not None and int(fields[1]) == above:
            return True, "a daemon (setsid, double fork) stays within reach"
        time.sleep(0.001)
    raise _Fails("a daemon (setsid, double fork) gets out of reach")


def _pidfd() -> tuple[bool, str]:
    """A process can be signalled without mistaking another for it."""
    pid = _fork(lambda: time.sleep(LONGEST_S))
    try:
        handle = os.pidfd_open(pid)
    except AttributeError:
        raise _Fails("this Python was built without it") from None
    watched = _Watched(process=pid)
    began = now_ms()
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    watched.died(began)
    return True, "a signal cannot reach a later process of the same number"


def _cgroup() -> tuple[bool | None, str]:
    """A control group of our own can be made and killed as one."""
    folder = own_cgroup()
    if folder is None:
        return None, "this process is in none; cronguard does without"
    leaf = f"{folder}/cronguard-doctor-{os.getpid()}"
    try:
        os.mkdir(leaf)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        return None, f"{folder} cannot be written to ({why}); cronguard does without"
    try:
        kills = os.access(f"{leaf}/cgroup.kill", os.W_OK)
    finally:
        os.rmdir(leaf)
    if not kills:
        return None, "writable, but this kernel has no cgroup.kill (5.14); cronguard does without"
    return True, f"{folder} is writable: what survives KILL one by one is killed as one there"


# -- all of them together -------------------------------------------------------------------------


class _Scene:
    """A real guardian with a command that has a daemon, below a process that plays the keeper."""

    def __init__(self) -> None:
        go_r, self._go = os.pipe()
        self._go_r = go_r
        reader, writer = os.pipe()
        self.keeper = _fork(lambda: self._play(writer))
        os.close(go_r)
        os.close(writer)
        child, grandchild, daemon = _heard(reader)
        self.watched = _Watched(child=child, grandchild=grandchild, daemon=daemon)

    def guardian(self) -> int:
        """Return the guardian's process number."""
        found = children_of(self.keeper)
        if not found:
            raise _Fails("the guardian is gone before its time")
        return found[0]

    def stop_keeper(self, dies_at: int) -> None:
        """Have the keeper set its timer, and stop."""
        os.write(self._go, b"%d" % dies_at)
        _, status = os.waitpid(self.keeper, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise _Fails("the keeper was killed before it was stopped")

    def _play(self, writer: int) -> None:
        os.close(self._go)
        command = [os.fsencode(word) for word in (sys.executable, "-I", "-S", "-c", _TREE)]
        link = guardian.start(command, dict(os.environb), Stdio(writer, None), _no_mark, [])
        os.close(writer)
        link.send(b"spawn")
        poller = poll()
        poller.register(self._go_r, POLLIN)
        poller.register(link.control.fileno(), POLLIN)
        while True:
            if any(number == self._go_r for number, _ in poller.poll(LONGEST_S * 1000)):
                self._stop(int(os.read(self._go_r, 20) or b"0"))
            if link.receive() is None:
                _sweep()  # as the real one: the guardian is dead, and its orphans are ours
                return

    @staticmethod
    def _stop(dies_at: int) -> None:
        timer = kernel.DeadMan()
        timer.arm(dies_at)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(LONGEST_S)


def _keeper_killed() -> tuple[bool, str]:
    """The keeper dies: the kernel kills the group, the guardian the daemon."""
    scene = _Scene()
    began = now_ms()
    os.kill(scene.keeper, signal.SIGKILL)
    return True, f"the whole tree, with a daemon, is dead {scene.watched.died(began)} after it"


def _guardian_killed() -> tuple[bool, str]:
    """The guardian dies: the kernel kills the group, the keeper the daemon."""
    scene = _Scene()
    victim = scene.guardian()
    began = now_ms()
    os.kill(victim, signal.SIGKILL)
    return True, f"the whole tree, with a daemon, is dead {scene.watched.died(began)} after it"


def _dead_man() -> tuple[bool, str]:
    """The keeper is stopped: the kernel's timer kills it, and the tree dies with it."""
    kernel.DeadMan()  # where the kernel refuses one, this says why
    scene = _Scene()
    dies_at = now_ms() + STOPPED_FOR_MS
    scene.stop_keeper(dies_at)
    return True, f"a stopped keeper and its whole tree are dead {scene.watched.died(dies_at)} late"


# -- what the experiments share -------------------------------------------------------------------


class _Watched:
    """Processes whose deaths are awaited. Zombies count as dead; a reused number does not live."""

    def __init__(self, **pids: int) -> None:
        self._alive = {name: (pid, start_of(pid)) for name, pid in pids.items()}
        for name, (_pid, start) in self._alive.items():
            if not start:
                raise _Fails(f"the {name} was dead before its time")

    def died(self, began: int) -> str:
        """Wait until all are dead; return how long after *began* that was, as `3 ms`."""
        while True:
            left = [name for name, (pid, start) in self._alive.items() if start_of(pid) == start]
            took = max(now_ms() - began, 0)
            if not left:
                return f"{took} ms"
            if took > PATIENCE_MS:
                names = " and ".join(left).replace("_", " ")
                raise _Fails(f"the {names} lived on for {PATIENCE_MS // 1000}s and more")
            time.sleep(0.000_5)


def _fork(action: Callable[[], None]) -> int:
    """Do *action* in a process of its own; return its number."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def _tell(writer: int, *numbers: int) -> None:
    os.write(writer, b" ".join([b"%d" % number for number in numbers]) + b"\n")


def _heard(reader: int) -> list[int]:
    """Return the numbers that a process of the experiment tells; closes the pipe."""
    poller = poll()
    poller.register(reader, POLLIN)
    try:
        line = os.read(reader, 100) if poller.poll(PATIENCE_MS) else b""
    finally:
        os.close(reader)
    if not line:
        raise _Fails("the processes of the test did not start")
    return [int(word) for word in line.split()]


def _no_mark() -> None:
    """Leave no mark: there is no lease."""


_EXPERIMENTS: tuple[tuple[str, Callable[[], tuple[bool | None, str]]], ...] = (
    ("parent death signal", _parent_death),
    ("group lifeline", _group_lifeline),
    ("subreaper", _subreaper),
    ("keeper killed", _keeper_killed),
    ("guardian killed", _guardian_killed),
    (TIMER, _dead_man),
    (PIDFD, _pidfd),
    (CGROUP, _cgroup),
)
