"""What is stuck, and what of it is proven dead: found by reading alone.

A run is dead when its guardian saw the last of its processes end and left word of it on this host
(runtime/proof.py), or when its record says `running` and the store has no lease of it. That a
cronguard is gone proves nothing of what it started, and of other hosts nothing is to be seen.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cronguard.admin import render
from cronguard.admin.ours import trees
from cronguard.admin.progress import Progress, parts
from cronguard.admin.unlock import every_ms, seems_alive
from cronguard.core.record import ABANDONED, RUNNING
from cronguard.core.words import printable, span
from cronguard.runtime import proof
from cronguard.stores.contract import Damaged, StoreRefused

if TYPE_CHECKING:
    from cronguard.admin.ours import Tree
    from cronguard.stores.contract import History, Lease, Stray

LOCK, ENDLESS, HOLDER, RECORD = "lock", "endless_lock", "holder", "record"
PROCESS, KEY, OLD, FOREIGN = "process", "foreign_key", "old_run", "foreign_lock"
KINDS = {
    LOCK: "a lock whose holder is not alive, or silent",
    ENDLESS: "a lock that does not end by itself",
    HOLDER: "a run that goes on without its lock",
    RECORD: "a record that says `running`, of a run that is gone",
    PROCESS: "processes of a run that has no lock and no cronguard any more",
    KEY: "a key under our prefix that is not ours and never expires",
    OLD: "a run that is older than --older-than",
    FOREIGN: "a lock of another system that never expires",
}
FREE, BIND, CLOSE, REMOVE = "free the lock", "let the lock end", "close the record", "remove it"
JOBS_AT_A_TIME = 1000


class Leftover:
    """One thing that is stuck. `todo` is what `clean` does about it; empty: nothing.

    `since` in ms since the epoch, 0 if nobody knows.
    """

    def __init__(self, kind: str, why: str, *, todo: str = "", dead: bool = False) -> None:
        self.kind = kind
        self.why = why
        self.todo = todo
        self.dead = dead
        self.job = ""
        self.run_id = ""
        self.host = ""
        self.pids: list[int] = []
        self.since = 0
        self.lease: Lease | None = None
        self.stray: Stray | None = None

    def of(self, lease: Lease) -> Leftover:
        """Say that it is about this lease."""
        self.lease = lease
        self.job, self.run_id = lease.job, lease.owner.run_id
        self.host, self.pids = lease.owner.host, [lease.owner.pid] if lease.owner.pid else []
        self.since = lease.owner.since_wall
        return self

    def of_record(self, job: str, record: render.Record) -> Leftover:
        """Say that it is about the run of this record."""
        self.job, self.run_id = job, str(record.get("run_id"))
        self.host, self.pids = str(record.get("host") or ""), _pids(record.get("pid"))
        self.since = render.when_of(record) or 0
        return self

    def of_tree(self, tree: Tree, pids: list[int]) -> Leftover:
        """Say that it is about these processes."""
        self.job, self.run_id, self.pids = tree.job, tree.run_id, pids
        self.host, self.since = os.uname().nodename, tree.since
        return self

    def of_stray(self, stray: Stray) -> Leftover:
        """Say that it is about this key."""
        self.stray = stray
        return self

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "kind": self.kind,
            "job": self.job or None,
            "run_id": self.run_id or None,
            "host": self.host or None,
            "pids": self.pids,
            "since_ms": self.since or None,
            "key": self.stray.key if self.stray else None,
            "store": self.stray.store if self.stray else None,
            "why": self.why,
            "provably_dead": self.dead,
            "clean": self.todo or None,
        }

    def name(self, now: int) -> str:
        """Return what it is, for people: `backup: run 0a1b on web-3, pid 8121, since ...`."""
        if self.stray is not None:
            return f"{printable(self.stray.key)} in {printable(self.stray.store)}"
        pids = " ".join(map(str, self.pids[:8])) + (" ..." if len(self.pids) > 8 else "")
        since = f", since {render.moment(self.since, now)}" if self.since else ""
        who = f"run {render.short(self.run_id)} on {render.word(self.host)}, pid {pids or '-'}"
        return f"{printable(self.job, 140)}: {who}{since}"


class Search:
    """What to look for, and what came of it.

    `found` · `trouble` what could not be read · `notes` what was not looked for, and why.
    """

    def __init__(self, history: History, state: str | None, now: int, older_than: int) -> None:
        self.found: list[Leftover] = []
        self.trouble: list[str] = []
        self.notes: list[str] = []
        self._history = history
        self._state = state
        self._now = now
        self._older_than = older_than

    def here_and_there(self) -> None:
        """Look at jobs, and at this host's processes."""
        running = trees()  # before the leases: a run that starts in between is in neither
        jobs = self._history.jobs()
        leases, records = self._read(jobs)
        held = {lease.owner.run_id for lease in leases if not lease.released}
        for lease in leases:
            self._add(self._judged(lease))
        here = {tree.run_id: tree for tree in running if tree.run_id not in held}
        for job, record in records:
            tree = here.get(str(record.get("run_id")))
            if tree is None or not tree.keeper:
                self._add(_vanished().of_record(job, record))
        told = {str(record.get("run_id")): record for _, record in records}
        for tree in here.values():
            self._add(self._uncovered(tree, told.get(tree.run_id)))

    def keys(self) -> None:
        """Look for keys of others under our prefix: at each key of the server, so for people."""
        try:
            with Progress("looking for foreign keys") as progress:
                strays = self._history.strays(None, progress.step)
        except StoreRefused as error:
            self.notes.append(f"foreign keys are not looked for: {error}")
            return
        for stray in strays:
            why = "it is under our prefix, no key of cronguard's has such a name, it never expires"
            self._add(Leftover(KEY, why).of_stray(stray))

    def foreign(self, pattern: str) -> None:
        """Look for locks of others that match *pattern*. Raises: StoreRefused, with what to do."""
        try:
            with Progress("looking for foreign locks") as progress:
                strays = self._history.strays(pattern, progress.step)
        except StoreRefused as error:
            raise StoreRefused(
                f"{error}\n  To look at keys of others, the user needs +scan, and those keys "
                f"besides its own: ~{printable(pattern)}"
            ) from error
        for stray in strays:
            why = f"it matches {printable(pattern)}, is {stray.size} bytes long and never expires"
            self._add(Leftover(FOREIGN, why, todo=REMOVE).of_stray(stray))

    def _add(self, leftover: Leftover | None) -> None:
        if leftover is not None:
            self.found.append(leftover)

    def _read(self, jobs: list[str]) -> tuple[list[Lease], list[tuple[str, render.Record]]]:
        """Return all leases, and the records that say `running` without one; change neither."""
        leases: list[Lease] = []
        records: list[tuple[str, render.Record]] = []
        for some in parts(jobs, JOBS_AT_A_TIME, "reading jobs"):
            left = self._history.left_behind(some)
            records += [(job, record) for job in some for record in left.get(job, [])]
            leases += self._leases(some)
        return leases, records

    def _leases(self, jobs: list[str]) -> list[Lease]:
        try:
            return [one for found in self._history.leases(jobs).values() for one in found]
        except Damaged as error:
            if len(jobs) == 1:
                self.trouble.append(str(error))
                return []
        return [lease for job in jobs for lease in self._leases([job])]

    def _judged(self, lease: Lease) -> Leftover | None:
        """Return what is wrong with a lease, or None."""
        owner = lease.owner
        if lease.left < 0 or (lease.left > lease.px and not lease.released):
            end = "no expiry" if lease.left < 0 else f"its expiry in {span(lease.left)}"
            why = f"its lock has {end}, where {span(lease.px)} are the most that it can have"
            return Leftover(ENDLESS, why, todo=BIND).of(lease)
        if lease.released:
            return None
        if proof.is_gone(self._state, owner):
            why = "its cronguard is gone, and its guardian has seen the last of its processes end"
            return Leftover(LOCK, why, todo=FREE, dead=True).of(lease)
        frees = f"the lock frees itself in {span(lease.left)}"
        if proof.is_here(owner) and not proof.keeper_lives(owner):
            why = f"its cronguard is gone, but nothing proves that what it started is; {frees}"
            return Leftover(LOCK, why).of(lease)
        if not seems_alive(lease):
            beat = span(every_ms(lease))
            why = f"its last heartbeat was {span(lease.quiet)} ago, with one each {beat}; {frees}"
            return Leftover(LOCK, why).of(lease)
        age = self._now - owner.since_wall
        if owner.since_wall and age > self._older_than:
            why = f"it runs for {span(age)}, and its last heartbeat was {span(lease.quiet)} ago"
            return Leftover(OLD, why).of(lease)
        return None

    def _uncovered(self, tree: Tree, record: render.Record | None) -> Leftover | None:
        """Return what is wrong with processes that no lease covers, or None."""
        pids = tree.pids
        if not pids:  # they have ended meanwhile
            return None
        if record is None:  # of a run that others took for dead, or that has ended
            record = next(iter(self._history.find(tree.run_id)), None)
        outcome = record.get("outcome") if record else None
        if tree.keeper:
            if outcome not in (RUNNING, ABANDONED):  # unguarded, or of another store, or ending
                return None
            why = f"its cronguard (pid {tree.keeper}) runs on, and the store has no lock of it"
            return Leftover(HOLDER, why).of_tree(tree, pids)
        if record is None:
            why = "its cronguard is gone, and this store knows no such run: it may be another's"
        else:
            why = f"its cronguard is gone, and its record says {render.result(record)}"
        return Leftover(PROCESS, why).of_tree(tree, pids)


def _vanished() -> Leftover:
    why = "its record says that it runs, and the store has no lock of it"
    return Leftover(RECORD, why, todo=CLOSE, dead=True)


def _pids(pid: object) -> list[int]:
    return [pid] if isinstance(pid, int) and pid else []
