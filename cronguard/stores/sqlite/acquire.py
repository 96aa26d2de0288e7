# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""Lease a job to a run, or say who is in the way: the store's one decision.

Runs inside its caller's transaction, which may be a read-only one: it writes only if it grants,
queues, evicts, or meets the job for the first time. So a thousand runs that find the lock held
do not queue up for the database.
"""

from __future__ import annotations

from cronguard.core.events import Event, Granted, Held, Queued, Refused
from cronguard.core.record import ABANDONED, NOT_STARTED, RUNNING, with_slot, with_token
from cronguard.stores.sqlite.rows import (
    LAST_TICKET,
    LIVE,
    UNTIL_RESUMED,
    ahead_of,
    close_left_behind,
    facts_of,
    job_made,
    live_leases,
    owner_of,
    put,
    ticket_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim, Owner
    from cronguard.stores.contract import Acquire
    from cronguard.stores.sqlite.engine import Connection
    from cronguard.stores.sqlite.rows import LeaseRow, Moment


def acquire(db: Connection, claim: Claim, request: Acquire, at: Moment, slot: int = 0) -> Event:
    """Grant the lease for *slot* (0: for none), or say why not."""
    job = job_made(db, claim.namespace, claim.job)
    live = live_leases(db, job, at)
    run_id = claim.owner.run_id
    for lease in live:
        if lease.run_id == run_id and not lease.released:
            return _granted_again(db, job, claim, lease, at, slot)
    if request.evict is not None:
        live = _evict(db, job, live, request.evict, at)
    refused = _refusal(db, job, claim, live, at, slot)
    if refused is not None:
        if ticket_of(db, job, run_id, at) is not None:
            db.execute("DELETE FROM waiters WHERE job = ? AND run_id = ?", (job, run_id))
        return refused
    ticket = ticket_of(db, job, run_id, at)
    ahead = ahead_of(db, job, ticket, at)
    taken = [lease.idx for lease in live]
    free = [index for index in range(claim.slots) if index not in taken]
    if ahead < len(free):
        return _grant(db, job, claim, request, free[0], at, slot)
    if request.replace:
        _make_way(db, job, live if not free else [], ticket, request.replace, at)
    holder, left = _in_the_way(db, live[0], at) if live else _first_waiter(db, job, at)
    if request.queue_for > 0:
        _queue(db, job, claim, ticket, request.queue_for, at)
        return Queued(at.now, holder, left, ahead)
    return Held(at.now, holder, left, over=not free and bool(live[0].released))


def _granted_again(
    db: Connection, job: int, claim: Claim, lease: LeaseRow, at: Moment, slot: int
) -> Event:
    """Answer the holder, who asks again: the same grant, for its full time."""
    db.execute(
        "UPDATE leases SET deadline = max(deadline, ?) WHERE job = ? AND idx = ?",
        (at.now + claim.px, job, lease.idx),
    )
    return Granted(at.now, lease.token, lease.idx, at.wall, slot, failures_of(db, job))


def _evict(
    db: Connection, job: int, live: list[LeaseRow], evict: str, at: Moment
) -> list[LeaseRow]:
    """Free the lease of a run that is proven dead; not one that is over and under min_hold."""
    dead = [lease for lease in live if lease.run_id == evict and not lease.released]
    for lease in dead:
        db.execute("UPDATE leases SET deadline = 0 WHERE job = ? AND idx = ?", (job, lease.idx))
    if dead:
        close_left_behind(db, job, at)
    return [lease for lease in live if lease not in dead]


def _refusal(
    db: Connection, job: int, claim: Claim, live: list[LeaseRow], at: Moment, slot: int
) -> Refused | None:
    until, reason, by = db.execute(
        "SELECT paused_until_wall, paused_reason, paused_by FROM jobs WHERE id = ?", (job,)
    ).fetchone()
    if until is not None and (until == UNTIL_RESUMED or at.wall < until):
        from cronguard.stores import refusals  # noqa: PLC0415 - only when it is

        return refusals.paused(until or None, by, reason)
    user = user_of(db, job, live, slot, at)
    if user and user != claim.owner.run_id:
        from cronguard.stores.sqlite.slots import done  # noqa: PLC0415 - only when it is

        return done(db, job, user, slot)
    for lease in live:
        if lease.settings != claim.settings and not lease.released:
            holder = owner_of(db, lease.run_id, lease.facts)
            from cronguard.stores import refusals  # noqa: PLC0415 - once in a blue moon

            why = refusals.conflict(holder, str(lease.settings), claim.settings)
            return Refused("conflict", why, holder)
    return None


def user_of(db: Connection, job: int, live: list[LeaseRow], slot: int, at: Moment) -> str:
    """Return the run that used up the slot, unless it never started or was abandoned."""
    if not slot:
        return ""
    used = db.execute(
        "SELECT slots.run_id, outcome FROM slots LEFT JOIN records "
        "ON records.job = slots.job AND records.run_id = slots.run_id "
        "WHERE slots.job = ? AND slot_id = ? AND until_wall > ?",
        (job, str(slot), at.wall),
    ).fetchone()
    if used is None or used[1] in (ABANDONED, NOT_STARTED):
        return ""
    runs = [lease.run_id for lease in live if not lease.released]
    return "" if used[1] == RUNNING and used[0] not in runs else str(used[0])


def _in_the_way(db: Connection, first: LeaseRow, at: Moment) -> tuple[Owner, int]:
    return owner_of(db, first.run_id, first.facts), first.deadline - at.now


def _first_waiter(db: Connection, job: int, at: Moment) -> tuple[Owner, int]:
    """Name who is next when the lease is free, but the queue is not empty."""
    run_id, facts, deadline = db.execute(
        f"SELECT run_id, facts, deadline FROM waiters WHERE job = ? AND {LIVE} "
        "ORDER BY ticket LIMIT 1",
        (job, at.boot, at.now),
    ).fetchone()
    return owner_of(db, run_id, facts), deadline - at.now


def _make_way(
    db: Connection, job: int, live: list[LeaseRow], ticket: int | None, by: str, at: Moment
) -> None:
    """Leave word to stop for the oldest run, and for all that wait before *ticket* (None: all)."""
    runs = [lease for lease in live if not lease.released]
    asked = [min(runs, key=lambda lease: lease.token).run_id] if runs else []
    last = LAST_TICKET if ticket is None else ticket
    before = db.execute(
        f"SELECT run_id FROM waiters WHERE job = ? AND ticket < ? AND {LIVE}",
        (job, last, at.boot, at.now),
    ).fetchall()
    asked += [row[0] for row in before]
    known = db.execute("SELECT run_id FROM stops WHERE job = ?", (job,)).fetchall()
    for run_id in asked:
        if (run_id,) not in known:
            db.execute("INSERT INTO stops VALUES(?, ?, ?, ?)", (job, run_id, by, at.wall))


def _queue(
    db: Connection, job: int, claim: Claim, ticket: int | None, queue_for: int, at: Moment
) -> None:
    """Keep the run's place in the queue, or give it one at the end."""
    deadline = at.now + queue_for
    if ticket is not None:
        db.execute("UPDATE waiters SET deadline = ? WHERE ticket = ?", (deadline, ticket))
        return
    _drop_expired(db, job, claim.owner.run_id, at)
    db.execute(
        "INSERT INTO waiters(job, run_id, deadline, boot_id, facts) VALUES(?, ?, ?, ?, ?)",
        (job, claim.owner.run_id, deadline, at.boot, facts_of(claim.owner)),
    )


def _drop_expired(db: Connection, job: int, run_id: str, at: Moment) -> None:
    """Drop who does not ask any more, and the word that it was to stop; not that for *run_id*."""
    expired = f"job = ? AND NOT ({LIVE})"
    db.execute(
        "DELETE FROM stops WHERE job = ? AND run_id <> ? AND run_id IN "
        f"(SELECT run_id FROM waiters WHERE {expired})",
        (job, run_id, job, at.boot, at.now),
    )
    db.execute(f"DELETE FROM waiters WHERE {expired}", (job, at.boot, at.now))


def _grant(
    db: Connection, job: int, claim: Claim, request: Acquire, index: int, at: Moment, slot: int
) -> Event:
    run_id, px, facts = claim.owner.run_id, claim.px, facts_of(claim.owner)
    last = int(db.execute("SELECT token FROM jobs WHERE id = ?", (job,)).fetchone()[0])
    token = max(last + 1, at.wall)
    db.execute("UPDATE jobs SET token = ? WHERE id = ?", (token, job))
    db.execute(
        "INSERT OR REPLACE INTO leases(job, idx, run_id, token, px, granted_at, deadline, "
        "boot_id, released, settings, facts) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
        (job, index, run_id, token, px, at.now, at.now + px, at.boot, claim.settings, facts),
    )
    record = with_token(request.record, token)
    if slot:
        use_slot(db, job, claim, slot, at)
        record = with_slot(record, slot)
    _drop_expired(db, job, run_id, at)
    db.execute("DELETE FROM waiters WHERE job = ? AND run_id = ?", (job, run_id))
    if request.record:
        db.execute(
            "INSERT INTO records(job, run_id, is_skip, outcome, text) "
            "VALUES(?, ?, 0, 'running', ?) ON CONFLICT(run_id, job) DO UPDATE "
            "SET outcome = 'running', is_skip = 0, ended_wall = NULL, text = excluded.text",
            (job, run_id, record),
        )
    close_left_behind(db, job, at)
    put(db, job, "last_start", at.wall)
    put(db, job, "skips_since_run", 0)
    return Granted(at.now, token, index, at.wall, slot, failures_of(db, job))


def failures_of(db: Connection, job: int) -> int:
    """Return how many runs of the job have failed in a row so far."""
    row = db.execute(
        "SELECT value FROM counters WHERE job = ? AND name = 'failures_in_a_row'", (job,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def use_slot(db: Connection, job: int, claim: Claim, slot: int, at: Moment) -> None:
    """Remember the schedule slot as used. By wall time: a reboot must not free it."""
    db.execute("DELETE FROM slots WHERE job = ? AND until_wall <= ?", (job, at.wall))
    db.execute(
        "INSERT OR REPLACE INTO slots VALUES(?, ?, ?, ?)",
        (job, str(slot), claim.owner.run_id, at.wall + claim.slot_px),
    )
