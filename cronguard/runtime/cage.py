"""A control group as a net: what survives being killed one by one is put in, and killed as one.

The kernel's `cgroup.kill` (cgroup v2, Linux 5.14) kills everybody in a group at one moment, also
who is being forked just then. It takes a folder that we may write to: as root, or below a unit with
`Delegate=yes`. With `--isolation auto` the group is made when killing needs more than a few passes,
and not before: a run that ends as runs do pays nothing and leaves nothing behind.

With `--isolation cgroup` the command is started in a group of its own, and whatever it starts is
born there. That costs each run a few system calls of some 100 us, and should keeper and guardian be
killed at the same moment, nobody is left to remove the folder: so it is not done for everybody.
"""

from __future__ import annotations

import os
from errno import ENODEV
from select import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.runtime.limit_group import LimitGroup

REMEDY = (
    "Run it as root, in a unit with `Delegate=yes`, or below `systemd --user`, on Linux 5.14 or "
    "later; or leave it to --isolation auto"
)
REMOVE_TRIES = 50
REMOVE_EVERY_MS = 2


def own_cgroup() -> str | None:
    """Return the folder of this process's cgroup v2, or None if there is none."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            own = [line[3:].rstrip("\n") for line in file if line.startswith("0::")]
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    for fields in mounts:
        if own and fields[fields.index("-") + 1] == "cgroup2":
            folder = (fields[4] + own[0]).rstrip("/")
            return folder if os.path.isdir(folder) else None
    return None


class Cage:
    """One such group. *is_ours* tells whether a process belongs to the tree."""

    __slots__ = (
        *("_above", "_folder", "_home", "_is_ours"),
        *("_group", "_name", "_oom", "_refused"),
    )

    def __init__(
        self, is_ours: Callable[[int], bool], name: str = "", group: LimitGroup | None = None
    ) -> None:
        self._group = group
        self._home = group.home if group is not None else ""
        self._is_ours = is_ours
        self._oom = ""
        self._name = name or f"cronguard-{os.getpid()}"
        self._above = ""
        self._folder = ""
        self._refused = False

    def make(self) -> None:
        """Make the group, for a command to be started in. Raises: OSError."""
        if not self._folder and not self._make():
            raise OSError(ENODEV, os.strerror(ENODEV))
        if self._group is not None:
            self._group.fill(self._folder)

    def oom(self) -> str:
        """Say whether the kernel killed in there for want of memory, also once it is removed.

        `own` if the group's limit was at fault, `around` if that of a group around it, or the host;
        nothing if it did not.
        """
        self._see_oom()
        return self._oom

    def _see_oom(self) -> None:
        if self._folder:
            self._oom = _oom(self._folder)

    def join(self) -> None:
        """Put the calling process in. Raises: OSError."""
        with open(f"{self._folder}/cgroup.procs", "wb", buffering=0) as file:
            file.write(b"0")

    def adopt(self) -> None:
        """Be what a dead process's `Cage` of this name was."""
        above = own_cgroup()
        home = self._home or above
        if above is not None and os.path.isdir(f"{home}/{self._name}"):
            self._above, self._folder = above, f"{home}/{self._name}"

    def kill(self, pids: list[int]) -> bool:
        """Put *pids* in and kill whoever is in there; False where this host does not allow it."""
        if not self._folder and not self._make():
            return False
        for pid in pids:
            _write(f"{self._folder}/cgroup.procs", pid)
        # A number may have got a new owner between being read and being put in: out with it.
        for pid in self._inside():
            if not self._is_ours(pid):
                _write(f"{self._above}/cgroup.procs", pid)
        return _write(f"{self._folder}/cgroup.kill", 1)

    def empty(self) -> bool:
        """Put whoever is in there to where we are, and remove it."""
        for _ in range(REMOVE_TRIES if self._folder else 0):
            inside = self._inside()
            if not inside:
                break
            for pid in inside:
                _write(f"{self._above}/cgroup.procs", pid)
        return self.remove()

    def remove(self) -> bool:
        """Remove the group, once nobody is in it; returns False if somebody still is.

        Who was reaped by another process may be on his way out for another moment.
        """
        self._see_oom()
        for _ in range(REMOVE_TRIES if self._folder else 0):
            try:
                os.rmdir(self._folder)
            except OSError:
                poll().poll(REMOVE_EVERY_MS)
                continue
            self._folder = ""
            break
        return not self._folder

    def _make(self) -> bool:
        # What gives controllers out can hold no process: whoever is to leave comes to us instead.
        above = None if self._refused else own_cgroup()
        self._refused = True
        if above is None:
            return False
        folder = f"{self._home or above}/{self._name}"
        try:
            os.mkdir(folder)
        except OSError:
            return False
        self._above, self._folder, self._refused = above, folder, False
        if not os.path.exists(f"{folder}/cgroup.kill"):
            self.remove()
            self._refused = True
        return not self._refused

    def _inside(self) -> list[int]:
        try:
            with open(f"{self._folder}/cgroup.procs", "rb") as file:
                return [int(line) for line in file]
        except OSError:
            return []


def refusal() -> str:
    """Say why no command can be started in a group of its own here; nothing if it can."""
    above = own_cgroup()
    if above is None:
        return "this process is in no control group of version 2"
    if not os.access(f"{above}/cgroup.procs", os.W_OK):
        return f"this user may not write to {above}"
    folder = f"{above}/cronguard-probe-{os.getpid()}"
    try:
        os.mkdir(folder)
    except OSError as error:
        return f"{above} cannot be written to ({os.strerror(error.errno or 0).lower()})"
    try:
        kills = os.path.exists(f"{folder}/cgroup.kill")
    finally:
        os.rmdir(folder)
    return "" if kills else f"this kernel has no cgroup.kill in {above} (it takes Linux 5.14)"


def chosen() -> str:
    """Say what `--isolation auto` comes to here: `cgroup` or `group`."""
    return "group" if refusal() else "cgroup"


def _oom(folder: str) -> str:
    """Read it from what the kernel counts: `oom` is of the limit of this very group."""
    try:
        with open(f"{folder}/memory.events", encoding="ascii") as file:
            facts = dict(line.split() for line in file)
    except (OSError, ValueError):
        return ""
    if facts.get("oom_kill", "0") == "0":
        return ""
    return "around" if facts.get("oom", "0") == "0" else "own"


def _write(path: str, value: int) -> bool:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(b"%d" % value)
    except OSError:
        return False  # the process has ended, or may not be moved
    return True
