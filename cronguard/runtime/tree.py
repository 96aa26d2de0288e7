"""The processes below this one: finding them, signalling them, and proving that none is left.

Used by the guardian, and by the keeper when the guardian was killed. Both are subreapers, so every
descendant whose parent dies becomes their direct child; `wait` saying ECHILD is the kernel's word
that the whole tree is dead. Lists read from /proc are only hints of whom to signal.

A signal goes only to a process that cannot have changed its number meanwhile: our unreaped direct
children (only we reap them), the child's process group while its leader is unreaped, and deeper
descendants through a pidfd that was opened before their parent was read.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

    from cronguard.runtime.cage import Cage
else:
    import _signal as signal  # the C core: `signal` builds enums for 4 ms

CAGE_AFTER = 20
"""So many passes of killing one by one do for any tree but one that forks all the while."""


def children_of(pid: int) -> list[int]:
    """Return the direct children of *pid*; none when it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        if not os.path.exists(f"/proc/{pid}"):
            return []
        return [child for child, parent in _all_parents() if parent == pid]
    except OSError:
        return []


def _all_parents() -> Iterator[tuple[int, int]]:
    """Walk /proc: for kernels without CONFIG_PROC_CHILDREN."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields is not None:
                yield int(name), int(fields[1])


def stat_fields(pid: int) -> list[bytes] | None:
    """Return /proc/PID/stat from the state on (state, ppid, pgrp, ...), or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def start_of(pid: int) -> int:
    """Return when *pid* started, in clock ticks since boot; 0 when it is gone or a zombie."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in (b"Z", b"X"):
        return 0
    return int(fields[19])


class Tree:
    """What has been started below this process.

    `cage` the control group for what is left after `cage_after` passes of killing; with 0 the
    command was started in it.
    """

    def __init__(self) -> None:
        self.leader = 0
        self.leader_status: int | None = None
        self.leader_stopped = 0
        self.user_us = 0
        self.system_us = 0
        self.max_rss_kb = 0
        self._anchored = False
        self._kills = 0
        self.cage: Cage | None = None
        self.cage_after = CAGE_AFTER

    def lead(self, pid: int) -> None:
        """Note the child that leads the process group."""
        self.leader = pid
        self._anchored = True

    def drop(self) -> None:
        """Reap the child that could not become the command."""
        os.waitpid(self.leader, 0)
        if self.cage is not None:
            self.cage.remove()

    def begun(self) -> int:
        """Return the command's number, now that it runs."""
        return self.leader

    def leave(self) -> None:
        """Let everybody live on when this process is gone."""
        if self.cage is not None:
            self.cage.empty()

    # -- reaping ----------------------------------------------------------------------------------

    def reap(self) -> bool:
        """Collect what has ended; return True when the kernel says that nothing is left.

        The leader stays a zombie as long as others live: its number then keeps naming the process
        group, and the group can be killed as one.
        """
        me = os.getpid()
        others = [pid for pid in children_of(me) if pid != self.leader]
        for pid in others:
            self._collect(pid)
        if self._anchored:
            self._look_at_leader()
            if self.leader_status is None or self._others_live(me):
                return False
            self._collect(self.leader)
            self._anchored = False
        return self._nothing_left()

    def _look_at_leader(self) -> None:
        flags = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        seen = os.waitid(os.P_PID, self.leader, flags)
        if seen is None:
            return
        if seen.si_code == os.CLD_STOPPED:
            os.waitid(os.P_PID, self.leader, os.WSTOPPED | os.WNOHANG)
            self.leader_stopped = seen.si_status
        elif seen.si_code == os.CLD_EXITED:
            self.leader_status = seen.si_status << 8
        elif seen.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            self.leader_status = seen.si_status

    def _others_live(self, me: int) -> bool:
        return any(pid != self.leader for pid in children_of(me))

    def _collect(self, pid: int) -> bool:
        """Reap *pid* if it has ended, and count what it used."""
        try:
            reaped, _status, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return False
        if reaped == 0:
            return False
        self.user_us += int(usage.ru_utime * 1_000_000)
        self.system_us += int(usage.ru_stime * 1_000_000)
        self.max_rss_kb = max(self.max_rss_kb, usage.ru_maxrss)
        return True

    def _nothing_left(self) -> bool:
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                if self.cage is not None:
                    self.cage.remove()
                return True
            if seen is None:  # somebody lives
                return False
            if not self._collect(seen.si_pid):
                return False

    # -- signalling -------------------------------------------------------------------------------

    def survivors(self) -> list[int]:
        """Return all living processes of the tree, parents before their children."""
        found: list[int] = []
        todo = children_of(os.getpid())
        while todo:
            pid = todo.pop(0)
            fields = stat_fields(pid)
            if fields is None:
                continue
            if fields[0] not in (b"Z", b"X"):
                found.append(pid)
            todo += children_of(pid)
        return found

    def signal_group(self, signum: int) -> None:
        """Send *signum* to the child's process group."""
        if self._anchored:
            try:
                os.killpg(self.leader, signum)
            except (ProcessLookupError, PermissionError):
                pass

    def signal(self, signum: int) -> None:
        """Ask everybody: what has left the group, the group, and wake up who is stopped.

        The group comes second: once its processes die, their children are elsewhere in the tree
        and a walk that is under way misses them. A second walk asks those that the first missed.
        """
        asked: set[int] = set()
        self._signal_outside(signum, asked)
        self.signal_group(signum)
        self.signal_group(signal.SIGCONT)
        self._signal_outside(signum, asked)

    def _signal_outside(self, signum: int, asked: set[int]) -> None:
        for pid in self.survivors():
            fields = stat_fields(pid)
            if pid in asked or fields is None or int(fields[2]) == self.leader:
                continue
            asked.add(pid)
            self._signal_one(pid, signum)
            self._signal_one(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill everybody once: the group as one, then whoever left it, from the top down.

        Whoever forks faster than we can read is stopped first: a stopped process forks no more.
        Who is left after a few calls is put into a control group and killed with it, where we may
        make one; where the command has been in one from the start, that one is killed first. Call
        it until `reap` says that nothing is left.
        """
        if self.cage is not None and self.cage_after == 0:
            self.cage.kill([])
        self.signal_group(signal.SIGKILL)
        left = self.survivors()
        seen: set[int] = set()
        for _ in range(8):
            fresh = [pid for pid in left if pid not in seen]
            if not fresh:
                break
            for pid in fresh:
                self._signal_one(pid, signal.SIGSTOP)
            seen.update(fresh)
            left = self.survivors()
        for pid in left:
            self._signal_one(pid, signal.SIGKILL)
        self._kills += 1
        if self.cage is not None and left and self._kills > self.cage_after:
            self.cage.kill(left)

    def _signal_one(self, pid: int, signum: int) -> None:
        try:
            self._signal_checked(pid, signum)
        except (ProcessLookupError, PermissionError):
            pass

    def _signal_checked(self, pid: int, signum: int) -> None:
        me = os.getpid()
        fields = stat_fields(pid)
        if fields is not None and int(fields[1]) == me:
            os.kill(pid, signum)  # unreaped, and only we reap it
            return
        try:
            handle = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return  # when its parent has died it is our own child, and the next pass gets it
        try:
            if is_below(pid, me):
                signal.pidfd_send_signal(handle, signum)
        finally:
            os.close(handle)


def is_below(pid: int, ancestor: int) -> bool:
    """Tell whether *ancestor* is among the ancestors of *pid*."""
    for _ in range(1000):
        fields = stat_fields(pid)
        if fields is None:
            return False
        pid = int(fields[1])
        if pid == ancestor:
            return True
        if pid <= 1:
            return False
    return False


def describe(pid: int) -> str:
    """Return `pid 4711 (state D, uid 0)` for a message."""
    fields = stat_fields(pid)
    state = fields[0].decode("ascii", "replace") if fields else "?"
    try:
        owner = str(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        owner = "?"
    return f"pid {pid} (state {state}, uid {owner})"
