"""The lease side of the embedded store: every request is answered at once, within bounds.

A request is one transaction of a fraction of a millisecond, so there is nothing to wait for; the
reply is put by for `events`. Where the database is locked by others it waits BUSY_MS at most.

An Acquire begins as a reader and becomes a writer only when it has something to write; if another
process wrote in between, SQLite says busy at once, and the whole is done again with BEGIN
IMMEDIATE. Renew, Reclaim and Close take the write lock first.

Full disk: what gives back or extends must work then. The log already has blocks on the disk (see
room.py), and after a checkpoint SQLite writes it from its start again. So on SQLITE_FULL: one
checkpoint, once more; a Close gives up its record last, never the release.

Roads not taken: a thread for the store (a fork follows, and there is no waiting to hide); a lock
file with flock(2) beside the database (the row must fall with the reboot and the deadline alike,
and two truths about one lease can differ).
"""

from __future__ import annotations

import os
from time import time_ns

from cronguard.core.events import (
    Closed,
    Denied,
    Event,
    Held,
    OffSchedule,
    Queued,
    StopAsked,
    Unavailable,
    Woken,
)
from cronguard.stores.contract import Acquire, Close, Reclaim, Renew, StoreDown, StoreRefused
from cronguard.stores.sqlite.acquire import acquire
from cronguard.stores.sqlite.engine import Error
from cronguard.stores.sqlite.rows import Moment, ahead_of, boot_id, job_of, live_leases, ticket_of
from cronguard.stores.sqlite.schema import connect, transact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Request
    from cronguard.stores.sqlite.bell import Bell
    from cronguard.stores.sqlite.engine import Connection

    T = TypeVar("T")

_POLLIN = 1


def open_lease(path: str, claim: Claim) -> SqliteLease:
    """Return the lease side for *claim*. The file is opened, or made, by the first request."""
    return SqliteLease(path, claim)


class SqliteLease:
    """One run's view of the store. See contract.LeaseStore."""

    def __init__(self, path: str, claim: Claim) -> None:
        self.label = "sqlite://" + path
        self._path = path
        self._claim = claim
        self._db: Connection | None = None
        self._file = (0, 0)
        self._boot = ""
        self._replies: list[Event] = []
        self._bell: Bell | None = None
        self._has_room = False
        self._said_stop = False
        self._look_now = False
        self._slot = 0

    # -- contract.LeaseStore ----------------------------------------------------------------------

    def send(self, request: Request, now: int) -> None:
        """Do what is asked, and put the reply by."""
        try:
            self._replies.append(self._reply_to(request, now))
        except (Error, OSError, StoreDown) as error:
            self._replies.append(self._failed(request, error))
        except (TypeError, ValueError, OverflowError):  # from a row that none of ours wrote
            self._replies.append(self._garbled())

    def watches(self) -> list[tuple[int, int]]:
        """Return the bell's descriptor, once the job is watched."""
        return [] if self._bell is None else [(self._bell.fd, _POLLIN)]

    def wake_at(self) -> int | None:
        """Return "now" while a reply waits to be fetched."""
        return 0 if self._replies or self._look_now else None

    def events(self, now: int) -> list[Event]:
        """Return the replies, and what the bell was rung for."""
        replies, self._replies = self._replies, []
        if self._bell is not None and (self._bell.rang() or self._look_now):
            self._look_now = False
            replies += self._look(now)
        return replies

    def watch_job(self, now: int) -> None:  # noqa: ARG002 - the contract's
        """Listen for other processes' news of this job, from now on."""
        if self._bell is not None:
            return
        from cronguard.stores.sqlite.bell import Bell  # noqa: PLC0415 - only who waits

        try:
            self._bell = Bell(self._path)
        except OSError:  # no inotify here, or no room for one more: the machine asks in time
            return
        self._look_now = True  # what happened before we listened

    def close(self) -> None:
        """Let go of the file."""
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._let_go()

    # -- requests ---------------------------------------------------------------------------------

    def _reply_to(self, request: Request, now: int) -> Event:
        db = self._opened()
        at = Moment(now, time_ns() // 1_000_000, self._boot)
        if isinstance(request, Acquire):
            return self._acquire(db, request, at)
        if isinstance(request, Close):
            return self._close_run(db, request, at)
        assert isinstance(request, Renew | Reclaim)
        return self._keep(db, request, at)

    def _keep(self, db: Connection, request: Renew | Reclaim, at: Moment) -> Event:
        from cronguard.stores.sqlite.keep import keep  # noqa: PLC0415 - with the first heartbeat

        self._reserve_room()
        return _with_room(
            db, lambda: _write(db, lambda: keep(db, self._claim, request, at, self._slot))
        )

    def _acquire(self, db: Connection, request: Acquire, at: Moment) -> Event:
        if self._claim.rule and not self._slot:
            from cronguard.core.slot import nearest  # noqa: PLC0415 - only with slots

            slot = nearest(self._claim.rule, at.wall)
            if slot is None:
                return OffSchedule(at.wall)
            self._slot = slot

        def step() -> Event:
            return acquire(db, self._claim, request, at, request.slot or self._slot)

        try:
            event = transact(db, "BEGIN", step)
        except Error as error:
            if not _is_busy(error):
                raise
            event = _write(db, step)
        if request.replace and isinstance(event, Held | Queued):
            self._ring()
        return event

    def _close_run(self, db: Connection, request: Close, at: Moment) -> Event:
        from cronguard.stores.sqlite.settle import settle  # noqa: PLC0415 - when the run ends

        def whole() -> bool:
            return settle(db, self._claim, request, at)

        def bare() -> bool:
            return settle(db, self._claim, request, at, with_record=False)

        try:
            freed = _with_room(db, lambda: _write(db, whole))
        except Error as error:
            from cronguard.stores.sqlite.faults import is_full  # noqa: PLC0415

            if not is_full(error):
                raise
            if _with_room(db, lambda: _write(db, bare)):
                self._ring()
            raise  # the lease is given back; the record still wants a place
        if freed:
            self._ring()
        return Closed()

    def _failed(self, request: Request, error: Error | OSError | StoreDown) -> Event:
        """Turn what went wrong into the reply."""
        fault = error
        if isinstance(error, Error):
            from cronguard.stores.sqlite import faults  # noqa: PLC0415 - when there is one

            fault = faults.fault_of(error, self._path)
            if not faults.leaves_connection(error):
                self._let_go()
        elif isinstance(error, OSError):
            from cronguard.stores.sqlite.files import fault_of  # noqa: PLC0415 - loaded already

            fault = fault_of(error, self._path)
        if isinstance(fault, StoreRefused):
            return Denied(str(fault))
        return Unavailable(request.name, str(fault))

    def _garbled(self) -> Event:
        """Say that what stands there for the job cannot be ours, so it may not run."""
        return Denied(
            f"it holds rows of the job {self._claim.job} that cronguard did not write; "
            f"when no job runs, move it away: mv {self._path} {self._path}.damaged"
        )

    # -- the file ---------------------------------------------------------------------------------

    def _opened(self) -> Connection:
        """Return the connection to the file that has the name now: it may have been replaced."""
        if self._db is not None and _identity(self._path) != self._file:
            self._let_go()
        if self._db is None:
            self._db = connect(self._path)
            self._file = _identity(self._path)
            self._boot = self._boot or boot_id()
        return self._db

    def _let_go(self) -> None:
        db, self._db = self._db, None
        self._has_room = False
        if db is not None:
            try:
                db.close()
            except Error:  # a checkpoint that is not possible now is made by the next one
                pass

    def _reserve_room(self) -> None:
        if not self._has_room:
            from cronguard.stores.sqlite.room import reserve  # noqa: PLC0415

            self._has_room = True
            reserve(self._path)

    # -- news -------------------------------------------------------------------------------------

    def _ring(self) -> None:
        from cronguard.stores.sqlite.bell import ring  # noqa: PLC0415 - only when one waits

        ring(self._path)

    def _look(self, now: int) -> list[Event]:
        """Find out whether the bell was rung for us. Reads only, and says nothing in vain."""
        try:
            db = self._opened()
            return transact(db, "BEGIN", lambda: self._news(db, Moment(now, 0, self._boot)))
        except (Error, OSError, StoreDown, TypeError, ValueError):  # the next request will say so
            return []

    def _news(self, db: Connection, at: Moment) -> list[Event]:
        claim = self._claim
        job = job_of(db, claim.namespace, claim.job)
        if job is None:
            return []
        stop = db.execute(
            "SELECT asked_by FROM stops WHERE job = ? AND run_id = ?", (job, claim.owner.run_id)
        ).fetchone()
        if stop is not None and not self._said_stop:
            self._said_stop = True
            return [StopAsked(stop[0])]
        ticket = ticket_of(db, job, claim.owner.run_id, at)
        if ticket is None:
            return []
        free = claim.slots - len(live_leases(db, job, at))
        return [Woken()] if ahead_of(db, job, ticket, at) < free else []


def _write(db: Connection, step: Callable[[], T]) -> T:
    return transact(db, "BEGIN IMMEDIATE", step)


def _with_room(db: Connection, step: Callable[[], T]) -> T:
    """Do *step*; when the disk is full, make SQLite use the log's blocks again, and do it again."""
    try:
        return step()
    except Error as error:
        from cronguard.stores.sqlite.faults import is_full  # noqa: PLC0415 - when there is one

        if not is_full(error):
            raise
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return step()


def _is_busy(error: Error) -> bool:
    from cronguard.stores.sqlite.faults import is_busy  # noqa: PLC0415 - when there is one

    return is_busy(error)


def _identity(path: str) -> tuple[int, int]:
    """Return what tells the file from another one of that name."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino
