"""A control group as a net: what survives being killed one by one is put in, and killed as one.

The kernel's `cgroup.kill` (cgroup v2, Linux 5.14) kills everybody in a group at one moment, also
who is being forked just then. It takes a folder that we may write to: as root, or below a unit with
`Delegate=yes`. The group is made when killing needs more than a few passes, and not before: a run
that ends as runs do pays nothing and leaves nothing behind.

Road not taken: starting every command in a group of its own, which costs each run two to three
system calls of some 100 us, and a folder that nobody removes if we are killed.
"""

from __future__ import annotations

import os
from select import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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

    __slots__ = ("_above", "_folder", "_is_ours", "_refused")

    def __init__(self, is_ours: Callable[[int], bool]) -> None:
        self._is_ours = is_ours
        self._above = ""
        self._folder = ""
        self._refused = False

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

    def remove(self) -> bool:
        """Remove the group, once nobody is in it; returns False if somebody still is.

        Who was reaped by another process may be on his way out for another moment.
        """
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
        above = None if self._refused else own_cgroup()
        self._refused = True
        if above is None:
            return False
        folder = f"{above}/cronguard-{os.getpid()}"
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


def _write(path: str, value: int) -> bool:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(b"%d" % value)
    except OSError:
        return False  # the process has ended, or may not be moved
    return True
