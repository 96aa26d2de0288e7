"""The processes on this host that belong to runs: those with CRONGUARD_RUN_ID in their environment.

Only those that this user may look at: root all, others their own. What took the variable out of
its environment is not found, so this is for a report; it proves nobody dead.
"""

from __future__ import annotations

import os

import psutil

from cronguard.core.spec import is_job_name

_NAMES = frozenset(("cronguard", "cronguard-sh"))
_LOOK_AT = 4
"""Among so many words of a command line is our name: `python -I -m cronguard`."""
_DEEPEST = 64


class Tree:
    """The processes of one run: `pids`, first one first; `keeper` the pid of its cronguard, or 0.

    `since` is when the first of them started, in ms since the epoch.
    """

    def __init__(self, run_id: str, job: str) -> None:
        self.run_id = run_id
        self.job = job
        self.keeper = 0
        self.since = 0
        self.processes: list[psutil.Process] = []

    @property
    def pids(self) -> list[int]:
        """Return the processes that are still there."""
        return [one.pid for one in self.processes if _lives(one)]


def trees() -> list[Tree]:
    """Return what runs here, by run, the oldest first."""
    found: dict[str, Tree] = {}
    for process in psutil.process_iter():
        run_id, job, started = _told(process)
        if run_id.isalnum() and is_job_name(job):
            tree = found.setdefault(run_id, Tree(run_id, job))
            tree.processes.append(process)
            tree.since = min(tree.since or started, started)
    for tree in found.values():
        tree.processes.sort(key=lambda one: (one.create_time(), one.pid))
        tree.keeper = _keeper_of(tree)
    return sorted(found.values(), key=lambda tree: (tree.since, tree.run_id))


def _told(process: psutil.Process) -> tuple[str, str, int]:
    """Return run id, job, and when the process started; nothing of one that may not be read."""
    try:
        env = process.environ()
        run_id, job = env.get("CRONGUARD_RUN_ID", ""), env.get("CRONGUARD_JOB", "")
        return run_id, job, int(process.create_time() * 1000)
    except (psutil.Error, OSError, ValueError):
        return "", "", 0


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _keeper_of(tree: Tree) -> int:
    """Return the cronguard that is above the run's processes, or 0 if there is none any more."""
    own = {one.pid for one in tree.processes}
    for process in tree.processes:
        above = 0
        for parent in _parents(process):
            if parent.pid in own:
                continue
            if not _is_cronguard(parent):
                break
            above = parent.pid  # the guardian, and then the keeper
        if above:
            return above
    return 0


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()[:_DEEPEST]
    except psutil.Error:
        return []


def _is_cronguard(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()[:_LOOK_AT]
    except psutil.Error:
        return False
    return any(os.path.basename(word) in _NAMES for word in words)
