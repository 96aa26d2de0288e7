"""What a run's processes on this host use, by psutil: those below its guardian.

Keeper and guardian are not counted. What has ended and was waited for, by the guardian or by one of
the run's own, is in the processor time; so it only ever grows, as long as nothing is orphaned away.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from cronguard.runtime import identity, proof

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Owner


class Usage:
    """What a run uses: processes that live, ms of processor time so far, bytes in memory."""

    def __init__(self, processes: int = 0, cpu_ms: int = 0, rss_bytes: int = 0) -> None:
        self.processes = processes
        self.cpu_ms = cpu_ms
        self.rss_bytes = rss_bytes

    def as_json(self) -> dict[str, int]:
        """Return it for programs."""
        return {
            "processes": self.processes,
            "cpu_ms": self.cpu_ms,
            "rss_bytes": self.rss_bytes,
        }


class Processes:
    """The processes of this host as they are now; read once, however many runs there are."""

    def __init__(self) -> None:
        self._below: dict[int, list[psutil.Process]] | None = None
        self._here = identity.boot_id(), identity.pid_namespace()
        self._known: dict[tuple[int, int], Usage | None] = {}

    def of(self, owner: Owner) -> Usage | None:
        """Return what the run of *owner* uses, or None if it is not to be seen from here.

        That of Python code under a guard is not: it is a part of what its process uses.
        """
        if not owner.command_hash:
            return None
        if "" in self._here or (owner.boot_id, owner.pid_ns) != self._here:
            return None
        keeper = owner.pid, owner.pid_start
        if keeper not in self._known:
            self._known[keeper] = self._used(owner.pid) if proof.keeper_lives(owner) else None
        return self._known[keeper]

    def _used(self, keeper: int) -> Usage:
        if self._below is None:
            self._below = _by_parent()
        found = Usage()
        for guardian in self._below.get(keeper, []):
            found.cpu_ms += _cpu_ms(guardian, waited_for_only=True)
            for process in self._under(guardian.pid):
                found.cpu_ms += _cpu_ms(process)
                if rss := _rss(process):
                    found.processes += 1
                    found.rss_bytes += rss
        return found

    def _under(self, pid: int) -> Iterator[psutil.Process]:
        assert self._below is not None
        todo, seen = [pid], {pid}
        while todo:
            for process in self._below.get(todo.pop(), []):
                if process.pid not in seen:  # numbers may have been given anew while we looked
                    seen.add(process.pid)
                    todo.append(process.pid)
                    yield process


def _by_parent() -> dict[int, list[psutil.Process]]:
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            found.setdefault(process.ppid(), []).append(process)
        except psutil.Error:
            continue  # it has ended meanwhile
    return found


def _cpu_ms(process: psutil.Process, *, waited_for_only: bool = False) -> int:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0
    own = 0.0 if waited_for_only else times.user + times.system
    return round((own + times.children_user + times.children_system) * 1000)


def _rss(process: psutil.Process) -> int:
    """Return the bytes that a process has in memory; 0 for one that has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
