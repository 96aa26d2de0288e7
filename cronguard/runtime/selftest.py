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

from cronguard.core.exits import OWN_FAILURE
from cronguard.runtime import cage, kernel
from cronguard.runtime import pidns_init as pidns
from cronguard.runtime.clock import now_ms
from cronguard.runtime.selftest_scene import (
    LONGEST_S,
    PATIENCE_MS,
    Fails,
    Scene,
    Watched,
    fork,
    heard,
    sweep,
    tell,
)
from cronguard.runtime.tree import stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 20
STOPPED_FOR_MS = 50
TIMER = "dead man's timer"
PIDFD = "pidfd"
CGROUP = "cgroup v2"
PIDNS = "pid namespace"
REMEDIES = {CGROUP: cage.REMEDY, PIDNS: pidns.REMEDY}
"""What to do where one of these cannot be had."""

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
        except Fails as failure:
            holds, text = False, str(failure)
        except OSError as error:
            holds, text = False, f"cannot be used: {os.strerror(error.errno or 0).lower()}"
        found.append([layer, holds, text])
        sweep()
    os.write(1, json.dumps(found).encode())


# -- one layer at a time --------------------------------------------------------------------------


def _parent_death() -> tuple[bool, str]:
    """A process dies with its parent."""
    reader, writer = os.pipe()

    def child() -> None:
        kernel.die_with_parent(signal.SIGKILL)
        tell(writer, os.getpid())
        time.sleep(LONGEST_S)

    def parent() -> None:
        fork(child)
        time.sleep(LONGEST_S)

    first = fork(parent)
    os.close(writer)
    watched = Watched(child=heard(reader)[0])
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
        stopped = fork(member)
        os.waitpid(stopped, os.WUNTRACED)
        tell(writer, os.getpid(), stopped)
        time.sleep(LONGEST_S)

    fork(leader)
    os.close(writer)
    one, other = heard(reader)
    watched = Watched(leader=one, stopped_member=other)
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
        tell(writer, os.getpid())
        time.sleep(LONGEST_S)

    def middle() -> None:
        fork(daemon)

    def reaper() -> None:
        kernel.become_subreaper()
        os.waitpid(fork(middle), 0)
        time.sleep(LONGEST_S)

    above = fork(reaper)
    os.close(writer)
    pid = heard(reader)[0]
    until = now_ms() + PATIENCE_MS
    while now_ms() < until:
        fields = stat_fields(pid)
        if fields is not None and int(fields[1]) == above:
            return True, "a daemon (setsid, double fork) stays within reach"
        time.sleep(0.001)
    raise Fails("a daemon (setsid, double fork) gets out of reach")


def _pidfd() -> tuple[bool, str]:
    """A process can be signalled without mistaking another for it."""
    pid = fork(lambda: time.sleep(LONGEST_S))
    try:
        handle = os.pidfd_open(pid)
    except AttributeError:
        raise Fails("this Python was built without it") from None
    watched = Watched(process=pid)
    began = now_ms()
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    watched.died(began)
    return True, "a signal cannot reach a later process of the same number"


def _cgroup() -> tuple[bool | None, str]:
    """A control group of our own can be made and killed as one."""
    why = cage.refusal()
    if why:
        return None, f"{why}; cronguard does without"
    folder = cage.own_cgroup()
    return True, f"{folder} is writable: what survives KILL one by one is killed as one there"


def _pid_namespace() -> tuple[bool | None, str]:
    """Nothing lives on, though keeper and guardian are killed at one moment."""
    why, has_proc = pidns.examine()
    if why:
        return None, f"{why}; cronguard does without"
    scene = Scene("pidns")
    both = (scene.guardian(), scene.keeper)
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for pid in both:
            os.kill(pid, signum)
    took = scene.watched.died(now_ms())
    proc = "" if has_proc else "; /proc in it stays the host's"
    return True, f"can be made, and is dead {took} after keeper and guardian were both killed{proc}"


# -- all of them together -------------------------------------------------------------------------


def _keeper_killed() -> tuple[bool, str]:
    """The keeper dies: the kernel kills the group, the guardian the daemon."""
    scene = Scene()
    began = now_ms()
    os.kill(scene.keeper, signal.SIGKILL)
    return True, f"the whole tree, with a daemon, is dead {scene.watched.died(began)} after it"


def _guardian_killed() -> tuple[bool, str]:
    """The guardian dies: the kernel kills the group, the keeper the daemon."""
    scene = Scene()
    victim = scene.guardian()
    began = now_ms()
    os.kill(victim, signal.SIGKILL)
    return True, f"the whole tree, with a daemon, is dead {scene.watched.died(began)} after it"


def _dead_man() -> tuple[bool, str]:
    """The keeper is stopped: the kernel's timer kills it, and the tree dies with it."""
    kernel.DeadMan()  # where the kernel refuses one, this says why
    scene = Scene()
    dies_at = now_ms() + STOPPED_FOR_MS
    scene.stop_keeper(dies_at)
    return True, f"a stopped keeper and its whole tree are dead {scene.watched.died(dies_at)} late"


_EXPERIMENTS: tuple[tuple[str, Callable[[], tuple[bool | None, str]]], ...] = (
    ("parent death signal", _parent_death),
    ("group lifeline", _group_lifeline),
    ("subreaper", _subreaper),
    ("keeper killed", _keeper_killed),
    ("guardian killed", _guardian_killed),
    (TIMER, _dead_man),
    (PIDFD, _pidfd),
    (CGROUP, _cgroup),
    (PIDNS, _pid_namespace),
)
