# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""End a run: give back what is its own, then store its record. Loaded when a run ends.

Runs inside its caller's transaction. When the record is refused (the disk is full), the caller
settles again with `with_record=False`: what is given back must not wait for room.
"""

from __future__ import annotations

from cronguard.core.record import (
    ABANDONED,
    KEPT_FAILURES,
    KEPT_RUNS,
    KEPT_SKIPS,
    RUNNING,
    SKIPPED,
    is_failure,
)
from cronguard.stores.sqlite.rows import LIVE, bump, job_made, put, recount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Close
    from cronguard.stores.sqlite.engine import Connection
    from cronguard.stores.sqlite.rows import Moment


def settle(
    db: Connection, claim: Claim, close: Close, at: Moment, *, with_record: bool = True
) -> bool:
    """Do all that a Close asks for; return True if that may let a waiting run go ahead."""
    job = job_made(db, claim.namespace, claim.job)
    run_id = claim.owner.run_id
    freed = close.release and _give_back(db, job, claim, at)
    left = db.execute("DELETE FROM waiters WHERE job = ? AND run_id = ?", (job, run_id))
    db.execute("DELETE FROM stops WHERE job = ? AND run_id = ?", (job, run_id))
    if close.forget_slot:
        db.execute("DELETE FROM slots WHERE job = ? AND run_id = ?", (job, run_id))
    freed = bool(freed or left.rowcount > 0) and _is_awaited(db, job, at)
    if with_record:
        _store(db, job, run_id, close)
        prune(db, job)
    return freed


def _give_back(db: Connection, job: int, claim: Claim, at: Moment) -> bool:
    """Free this run's lease, now or when it was held for min_hold; never another's."""
    rows = db.execute(
        "SELECT idx, granted_at, boot_id, deadline FROM leases "
        "WHERE job = ? AND run_id = ? AND released = 0",
        (job, claim.owner.run_id),
    ).fetchall()
    for idx, granted_at, boot, deadline in rows:
        is_live = boot == at.boot and deadline > at.now
        rest = min(granted_at + claim.min_hold - at.now, claim.min_hold)
        db.execute(
            "UPDATE leases SET released = 1, deadline = ? WHERE job = ? AND idx = ?",
            (at.now + rest if is_live and rest > 0 else 0, job, idx),
        )
    return bool(rows)


def _is_awaited(db: Connection, job: int, at: Moment) -> bool:
    query = f"SELECT 1 FROM waiters WHERE job = ? AND {LIVE} LIMIT 1"
    return db.execute(query, (job, at.boot, at.now)).fetchone() is not None


def _store(db: Connection, job: int, run_id: str, close: Close) -> None:
    row = db.execute(
        "SELECT outcome FROM records WHERE run_id = ? AND job = ?", (run_id, job)
    ).fetchone()
    before = None if row is None else row[0]
    if not close.record:  # a run that leaves no record, not even that of its start
        db.execute("DELETE FROM records WHERE run_id = ? AND job = ?", (run_id, job))
        return
    db.execute(
        "INSERT INTO records(job, run_id, is_skip, outcome, ended_wall, text) "
        "VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(run_id, job) DO UPDATE SET outcome = "
        "excluded.outcome, is_skip = excluded.is_skip, ended_wall = excluded.ended_wall, "
        "text = excluded.text",
        (job, run_id, int(close.outcome == SKIPPED), close.outcome, close.ended_wall, close.record),
    )
    if before in (None, RUNNING, ABANDONED):  # else it was counted: a Close can be repeated
        _count(db, job, close, before)


def _count(db: Connection, job: int, close: Close, before: str | None) -> None:
    bump(db, job, close.outcome)
    if close.outcome == SKIPPED:
        bump(db, job, f"{SKIPPED}:{close.reason}")
        bump(db, job, "skips_since_run")
    elif is_failure(close.outcome):
        put(db, job, "last_failure", close.ended_wall)
        bump(db, job, "failures_in_a_row")
    else:
        put(db, job, "last_success", close.ended_wall)
        put(db, job, "failures_in_a_row", 0)
    if before == ABANDONED:  # taken for dead, but it was not: what was counted then is wrong
        bump(db, job, ABANDONED, -1)
        recount(db, job)


def prune(db: Connection, job: int) -> None:
    """Forget the records that need not be kept; a run that is open is never forgotten."""
    last = _nth(db, "job = ? AND is_skip = 0", job, KEPT_RUNS)
    if last is not None:
        db.execute(
            "DELETE FROM records WHERE job = ? AND is_skip = 0 AND seq <= ? "
            "AND outcome = 'succeeded'",
            (job, last),
        )
        older = "job = ? AND is_skip = 0 AND outcome NOT IN ('running', 'succeeded') AND seq <= ?"
        last = _nth(db, older, job, KEPT_FAILURES, last)
        if last is not None:
            db.execute(f"DELETE FROM records WHERE {older}", (job, last))
    last = _nth(db, "job = ? AND is_skip = 1", job, KEPT_SKIPS)
    if last is not None:
        db.execute("DELETE FROM records WHERE job = ? AND is_skip = 1 AND seq <= ?", (job, last))


def _nth(db: Connection, where: str, job: int, kept: int, before: int | None = None) -> int | None:
    """Return the newest record that is one too many, or None."""
    given = (job, kept) if before is None else (job, before, kept)
    query = f"SELECT seq FROM records WHERE {where} ORDER BY seq DESC LIMIT 1 OFFSET ?"
    row = db.execute(query, given).fetchone()
    return None if row is None else int(row[0])
