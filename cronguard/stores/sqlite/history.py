# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""The history side of the embedded store: everything that reads and steers.

It shares file, tables and rules with the lease side. One connection, used by one thread at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime_ns, time_ns
from typing import TypeVar

from cronguard.core.decode import readable
from cronguard.core.spec import Claim, is_job_name
from cronguard.stores.contract import Close, Lease, Overview
from cronguard.stores.sqlite import faults, files
from cronguard.stores.sqlite import overview as many
from cronguard.stores.sqlite.bell import ring
from cronguard.stores.sqlite.create import FENCES
from cronguard.stores.sqlite.engine import Connection, Error, sqlite_version
from cronguard.stores.sqlite.rows import (
    LIVE,
    UNTIL_RESUMED,
    Moment,
    boot_id,
    close_left_behind,
    job_made,
    job_of,
    live_leases,
    plain,
    ticket_of,
)
from cronguard.stores.sqlite.schema import VERSION, connect, transact
from cronguard.stores.sqlite.settle import settle
from cronguard.stores.sqlite.sweeping import ASKED, Sweeping

T = TypeVar("T")
_WORD_KEPT_MS = 24 * 3_600_000
"""How long word for a run to stop is kept, should the run vanish without taking it."""


def open_history(path: str, namespace: str) -> SqliteHistory:
    """Return the history side. The file is opened, or made, when it is first needed."""
    return SqliteHistory(path, namespace)


class SqliteHistory(Sweeping):
    """See contract.History."""

    def __init__(self, path: str, namespace: str) -> None:
        self.label = files.SCHEME + path
        self._path = path
        self._namespace = namespace
        self._db: Connection | None = None
        self._boot = ""
        self._one_at_a_time = threading.RLock()

    # -- reading ----------------------------------------------------------------------------------

    def jobs(self) -> list[str]:
        """Return the names of all jobs that ever asked for a lease, sorted."""
        query = f"SELECT name FROM jobs WHERE namespace = ? AND {ASKED} ORDER BY name"
        key = (self._namespace,)
        found = self._read(lambda db, _: [name for (name,) in db.execute(query, key)])
        return [name for name in found if isinstance(name, str) and is_job_name(name)]

    def leases(self, jobs: list[str]) -> dict[str, list[Lease]]:
        """Return the live leases of each of *jobs*."""
        return self._read(lambda db, at: many.leases(db, self._wanted(jobs), at))

    def overview(self, jobs: list[str], *, live: bool = False) -> dict[str, Overview]:
        """Return all that is asked about many jobs."""
        self._close_left_behind(jobs)
        return self._read(lambda db, at: many.overview(db, self._wanted(jobs), at, live))

    def waiters(self, job: str) -> list[str]:
        """Return the run ids that stand in the queue, first one first."""
        wanted = self._wanted([job])
        return self._read(lambda db, at: many.waiters(db, wanted, at)).get(job, [])

    def runs(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of runs, older failures among them."""
        self._close_left_behind([job])
        return self._records(job, 0, limit)

    def skips(self, job: str, limit: int) -> list[dict[str, object]]:
        """Return the newest *limit* records of skips."""
        return self._records(job, 1, limit)

    def last(self, jobs: list[str]) -> dict[str, dict[str, object]]:
        """Return the newest record of a run of each of *jobs* that has one."""
        self._close_left_behind(jobs)
        return self._read(lambda db, _: many.last(db, self._wanted(jobs)))

    def counters(self, jobs: list[str]) -> dict[str, dict[str, int]]:
        """Return each job's counters."""
        self._close_left_behind(jobs)
        return self._read(lambda db, _: many.counters(db, self._wanted(jobs)))

    def recent(self, jobs: list[str], limit: int) -> dict[str, list[dict[str, object]]]:
        """Return the newest *limit* records of runs of each of *jobs*, up to their output."""
        return self._read(lambda db, _: many.recent(db, self._wanted(jobs), limit))

    def find(self, run_id: str) -> list[dict[str, object]]:
        """Return the records whose run id begins with *run_id*."""
        if not run_id:
            return []
        query = (
            "SELECT text, jobs.name, outcome FROM records JOIN jobs ON jobs.id = job "
            "WHERE namespace = ? AND run_id >= ? AND substr(run_id, 1, ?) = ? ORDER BY seq DESC"
        )
        key = (self._namespace, plain(run_id), len(plain(run_id)), plain(run_id))

        def found() -> list[tuple[object, object, object]]:
            return self._read(lambda db, _: db.execute(query, key).fetchall())

        open_jobs = {str(name) for _, name, outcome in found() if outcome == "running"}
        self._close_left_behind(sorted(open_jobs))
        return [record for text, _, _ in found() if (record := readable(text))]

    def facts(self) -> dict[str, object]:
        """Return what `doctor` reports about the file and what it stands on."""

        def read(db: Connection, at: Moment) -> dict[str, object]:
            folder = os.stat(os.path.dirname(self._path))
            room = os.statvfs(self._path)
            return {
                "version": f"SQLite {sqlite_version}",
                "clock": at.wall,
                "path": self._path,
                "schema": VERSION,
                "journal_mode": db.execute("PRAGMA journal_mode").fetchone()[0],
                "file_system": files.file_system(os.path.dirname(self._path), folder.st_dev),
                "size_bytes": os.stat(self._path).st_size,
                "free_bytes": room.f_bavail * room.f_frsize,
                "integrity": db.execute("PRAGMA quick_check(1)").fetchone()[0],
            }

        return self._read(read)

    # -- steering ---------------------------------------------------------------------------------

    def ask_stop(self, job: str, run_id: str, by: str) -> None:
        """Leave word for that run to stop, if it holds a lease or waits for one, and ring."""

        def write(db: Connection, at: Moment) -> bool:
            number = self._job(db, job)
            holds = any(row.run_id == run_id for row in live_leases(db, number, at))
            if not holds and ticket_of(db, number, run_id, at) is None:
                return False
            db.execute("DELETE FROM stops WHERE asked_wall < ?", (at.wall - _WORD_KEPT_MS,))
            word = (number, run_id, plain(by), at.wall)
            db.execute("INSERT OR REPLACE INTO stops VALUES(?, ?, ?, ?)", word)
            return True

        if self._write(write):
            ring(self._path)

    def unlock(self, lease: Lease, by: str) -> bool:
        """Free exactly this lease: the row keeps its token, but is nobody's any more."""

        def write(db: Connection, at: Moment) -> bool:
            job, run_id = self._job(db, lease.job), lease.owner.run_id
            freed = db.execute(
                "UPDATE leases SET deadline = 0, released = 1, run_id = '', unlocked_by = ? "
                f"WHERE job = ? AND idx = ? AND run_id = ? AND token = ? AND {LIVE}",
                (plain(by), job, lease.index, run_id, lease.token, at.boot, at.now),
            )
            return freed.rowcount == 1

        done = self._write(write)
        if done:
            ring(self._path)
        return done

    def deliver(self, claim: Claim, close: Close) -> None:
        """Do a Close that could not be done when the run ended."""
        if self._write(lambda db, at: settle(db, claim, close, at)):
            ring(self._path)

    def pause(self, job: str, until: int | None, reason: str, by: str) -> None:
        """Refuse the job's runs until that moment (ms since the epoch), or until `resume`."""

        def write(db: Connection, _: Moment) -> None:
            number = job_made(db, self._namespace, job)
            db.execute(
                "UPDATE jobs SET paused_until_wall = ?, paused_reason = ?, paused_by = ? "
                "WHERE id = ?",
                (until or UNTIL_RESUMED, plain(reason), plain(by), number),
            )

        self._write(write)

    def paused(self, job: str) -> dict[str, object] | None:
        """Return what `pause` left (`until`, `reason`, `by`), or None."""
        return self._read(lambda db, _: many.paused(db, self._wanted([job]))).get(job)

    def resume(self, job: str) -> bool:
        """Let the job run again; False if it was not paused."""

        def write(db: Connection, _: Moment) -> bool:
            changed = db.execute(
                "UPDATE jobs SET paused_until_wall = NULL WHERE id = ? "
                "AND paused_until_wall IS NOT NULL",
                (self._job(db, job),),
            )
            return changed.rowcount == 1

        return self._write(write)

    def fence(self, resource: str, token: int) -> int:
        """Note that *token* was seen for *resource*; return the highest that was."""

        def write(db: Connection, _: Moment) -> int:
            db.execute(FENCES)
            key = (self._namespace, plain(resource))
            db.execute(
                "INSERT INTO fences VALUES(?, ?, ?) ON CONFLICT DO UPDATE "
                "SET token = max(token, excluded.token)",
                (*key, token),
            )
            query = "SELECT token FROM fences WHERE namespace = ? AND resource = ?"
            return int(db.execute(query, key).fetchone()[0])

        return self._write(write)

    def close(self) -> None:
        """Let go of the file."""
        with self._one_at_a_time:
            db, self._db = self._db, None
            if db is not None:
                try:
                    db.close()
                except Error:  # a checkpoint that is not possible now is made by the next one
                    pass

    # -- how --------------------------------------------------------------------------------------

    def _job(self, db: Connection, name: str) -> int:
        """Return the job's number; 0, which no job has, for one that nobody asked for."""
        return job_of(db, self._namespace, name) or 0

    def _wanted(self, jobs: list[str]) -> many.Wanted:
        return many.Wanted(self._namespace, jobs)

    def _records(self, job: str, is_skip: int, limit: int) -> list[dict[str, object]]:
        query = "SELECT text FROM records WHERE job = ? AND is_skip = ? ORDER BY seq DESC LIMIT ?"

        def read(db: Connection, _: Moment) -> list[dict[str, object]]:
            rows = db.execute(query, (self._job(db, job), is_skip, max(limit, 0)))
            return [record for (text,) in rows if (record := readable(text))]

        return self._read(read)

    def _close_left_behind(self, jobs: list[str]) -> None:
        """Close the records of runs whose keeper vanished; writes only if there are any."""

        def write(db: Connection, at: Moment) -> None:
            for number in found:
                close_left_behind(db, number, at)

        found = self._read(lambda db, at: many.left_behind(db, self._wanted(jobs), at))
        if found:
            self._write(write)

    def _read(self, step: Callable[[Connection, Moment], T]) -> T:
        return self._do("BEGIN", step)

    def _write(self, step: Callable[[Connection, Moment], T]) -> T:
        return self._do("BEGIN IMMEDIATE", step)

    def _do(self, begin: str, step: Callable[[Connection, Moment], T]) -> T:
        with self._one_at_a_time:
            try:
                return self._transact(begin, step)
            except Error as error:
                if not faults.leaves_connection(error):
                    self.close()
                raise faults.fault_of(error, self._path) from error
            except OSError as error:
                raise files.fault_of(error, self._path) from error

    def _transact(self, begin: str, step: Callable[[Connection, Moment], T]) -> T:
        if self._db is None:
            self._db = connect(self._path)
            self._boot = self._boot or boot_id()
        db = self._db
        now = clock_gettime_ns(CLOCK_BOOTTIME) // 1_000_000
        at = Moment(now, time_ns() // 1_000_000, self._boot)
        return transact(db, begin, lambda: step(db, at))
