# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""The part of the embedded store's history side that finds what is left over, and clears it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cronguard.core.decode import readable
from cronguard.stores.contract import Lease, Stray
from cronguard.stores.sqlite.bell import ring
from cronguard.stores.sqlite.engine import Connection
from cronguard.stores.sqlite.rows import LIVE, Moment, close_left_behind, job_of, left_behind

ASKED = (
    "(paused_until_wall IS NOT NULL OR EXISTS (SELECT 1 FROM counters WHERE job = jobs.id) "
    "OR EXISTS (SELECT 1 FROM waiters WHERE job = jobs.id))"
)
"""Tells a job from what `reset` leaves of one: its last token."""
_OLD = (
    "job = ? AND outcome <> 'running' AND coalesce(ended_wall, 0) < ? "
    f"AND run_id NOT IN (SELECT run_id FROM leases WHERE job = ? AND {LIVE})"
)


class Sweeping:
    """What `SqliteHistory` is made of besides itself."""

    _path: str
    _namespace: str
    _read: Callable[..., Any]
    _write: Callable[..., Any]
    _job: Callable[[Connection, str], int]

    def left_behind(self, jobs: list[str]) -> dict[str, list[dict[str, object]]]:
        """Return the records that say `running` though their run has no lease."""

        def read(db: Connection, at: Moment) -> dict[str, list[dict[str, object]]]:
            rows = {job: left_behind(db, self._job(db, job), at) for job in jobs}
            return {
                job: [record for _, _, text in found if (record := readable(text))]
                for job, found in rows.items()
            }

        found: dict[str, list[dict[str, object]]] = self._read(read)
        return found

    def close_left_behind(self, job: str) -> list[str]:
        """Close these records; return the ids of their runs."""

        def write(db: Connection, at: Moment) -> list[str]:
            number = self._job(db, job)
            found = [str(run_id) for _, run_id, _ in left_behind(db, number, at)]
            if found:
                close_left_behind(db, number, at)
            return found

        closed: list[str] = self._write(write)
        return closed

    def bound(self, lease: Lease) -> bool:
        """Give exactly this lease its time back, should it end later than it can."""

        def write(db: Connection, at: Moment) -> bool:
            changed = db.execute(
                "UPDATE leases SET deadline = ? + px WHERE job = ? AND idx = ? AND run_id = ? "
                "AND token = ? AND released = 0 AND px > 0 AND boot_id = ? AND deadline > ? + px",
                (
                    at.now,
                    self._job(db, lease.job),
                    lease.index,
                    lease.owner.run_id,
                    lease.token,
                    at.boot,
                    at.now,
                ),
            )
            return changed.rowcount == 1

        return bool(self._write(write))

    def prune(self, job: str, before: int, batch: int, *, dry_run: bool = False) -> int:
        """Forget up to *batch* records that ended before that moment."""

        def key(db: Connection, at: Moment) -> tuple[object, ...]:
            number = self._job(db, job)
            return number, before, number, at.boot, at.now, batch

        def count(db: Connection, at: Moment) -> int:
            query = f"SELECT count(*) FROM (SELECT 1 FROM records WHERE {_OLD} LIMIT ?)"
            return int(db.execute(query, key(db, at)).fetchone()[0])

        def forget(db: Connection, at: Moment) -> int:
            some = f"SELECT seq FROM records WHERE {_OLD} ORDER BY seq LIMIT ?"
            return db.execute(f"DELETE FROM records WHERE seq IN ({some})", key(db, at)).rowcount

        return int(self._read(count) if dry_run else self._write(forget))

    def reset(self, job: str) -> bool:
        """Forget the job, unless a run of it holds a lease; its row keeps the last token."""

        def write(db: Connection, at: Moment) -> bool:
            number = job_of(db, self._namespace, job) or 0
            live = f"SELECT 1 FROM leases WHERE job = ? AND released = 0 AND {LIVE}"
            if db.execute(live, (number, at.boot, at.now)).fetchone() is not None:
                return False
            for table in ("waiters", "stops", "records", "counters"):
                db.execute(f"DELETE FROM {table} WHERE job = ?", (number,))
            db.execute(
                "UPDATE jobs SET paused_until_wall = NULL, paused_reason = NULL, "
                "paused_by = NULL WHERE id = ?",
                (number,),
            )
            return True

        done = bool(self._write(write))
        if done:
            ring(self._path)  # who waited asks again, and stands in the queue anew
        return done

    def strays(
        self,
        pattern: str | None = None,  # noqa: ARG002 - the contract's
        tick: Callable[[], None] = lambda: None,  # noqa: ARG002
    ) -> list[Stray]:
        """Return nothing: there are no keys of others in the file."""
        return []

    def uproot(self, strays: list[Stray]) -> list[Stray]:  # noqa: ARG002
        """Remove nothing."""
        return []
