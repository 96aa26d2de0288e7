"""Extend a lease, or take it again after it vanished. Loaded with the first heartbeat.

Both run inside their caller's transaction. A Renew writes one row in place.
"""

from __future__ import annotations

from cronguard.core.events import Event, Gone, Renewed, Taken
from cronguard.core.record import ABANDONED, RUNNING
from cronguard.stores.contract import Reclaim
from cronguard.stores.sqlite.acquire import use_slot, user_of
from cronguard.stores.sqlite.rows import (
    bump,
    facts_of,
    job_made,
    job_of,
    live_leases,
    owner_of,
    recount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Claim
    from cronguard.stores.contract import Renew
    from cronguard.stores.sqlite.engine import Connection
    from cronguard.stores.sqlite.rows import LeaseRow, Moment


def keep(
    db: Connection, claim: Claim, request: Renew | Reclaim, at: Moment, slot: int = 0
) -> Event:
    """Do what is asked for; *slot* is the one that the run is for, 0 for none."""
    if isinstance(request, Reclaim):
        return _reclaim(db, claim, request, at, slot)
    return _renew(db, claim, request, at)


def _renew(db: Connection, claim: Claim, request: Renew, at: Moment) -> Event:
    """Extend the lease if it is live and this run's; create nothing."""
    job = job_of(db, claim.namespace, claim.job)
    if job is None:
        return Gone(at.now)
    found = [lease for lease in live_leases(db, job, at) if lease.idx == request.index]
    if found and not _is_ours(found[0], claim, request.token):
        return Taken(owner_of(db, found[0].run_id, found[0].facts))
    if not found:
        return Taken(None) if _is_fenced(db, job, claim, request) else Gone(at.now)
    return _extended(db, job, claim, request.index, at)


def _reclaim(db: Connection, claim: Claim, request: Reclaim, at: Moment, slot: int) -> Event:
    """Take the lease again with its old token, unless somebody was granted it, or its slot."""
    job = job_made(db, claim.namespace, claim.job)
    live = live_leases(db, job, at)
    for lease in live:
        if lease.idx == request.index:
            if _is_ours(lease, claim, request.token):
                return _extended(db, job, claim, request.index, at)
            return Taken(owner_of(db, lease.run_id, lease.facts))
        if lease.settings != claim.settings and not lease.released:
            return Taken(owner_of(db, lease.run_id, lease.facts))
    user = user_of(db, job, live, slot, at)
    if _is_fenced(db, job, claim, request) or user not in ("", claim.owner.run_id):
        return Taken(None)
    if slot:
        use_slot(db, job, claim, slot, at)
    run_id, facts = claim.owner.run_id, facts_of(claim.owner)
    # What is left of the row keeps its granted_at: min_hold counts from there.
    db.execute(
        "INSERT INTO leases(job, idx, run_id, token, px, granted_at, deadline, boot_id, settings, "
        "facts) VALUES(?, ?, ?, ?, ?, ?, 0, ?, ?, ?) "
        "ON CONFLICT(job, idx) DO UPDATE SET boot_id = excluded.boot_id, px = excluded.px, "
        "run_id = excluded.run_id, token = excluded.token, facts = excluded.facts, "
        "settings = excluded.settings",
        (
            job,
            request.index,
            run_id,
            request.token,
            claim.px,
            at.now,
            at.boot,
            claim.settings,
            facts,
        ),
    )
    db.execute("UPDATE jobs SET token = max(token, ?) WHERE id = ?", (request.token, job))
    _reopen(db, job, claim)
    return _extended(db, job, claim, request.index, at)


def _is_ours(lease: LeaseRow, claim: Claim, token: int) -> bool:
    return lease.run_id == claim.owner.run_id and lease.token == token and not lease.released


def _is_fenced(db: Connection, job: int, claim: Claim, request: Renew | Reclaim) -> bool:
    """Tell whether that index was given to another run since, unlocked, or given back."""
    row = db.execute(
        "SELECT run_id, token, released FROM leases WHERE job = ? AND idx = ?",
        (job, request.index),
    ).fetchone()
    if row is None:
        return False
    run_id, token, released = row
    if run_id == claim.owner.run_id and token == request.token:
        return bool(released)
    return bool(token >= request.token)


def _extended(db: Connection, job: int, claim: Claim, index: int, at: Moment) -> Event:
    db.execute(
        "UPDATE leases SET deadline = max(deadline, ?) WHERE job = ? AND idx = ?",
        (at.now + claim.px, job, index),
    )
    stop = db.execute(
        "SELECT asked_by FROM stops WHERE job = ? AND run_id = ?", (job, claim.owner.run_id)
    ).fetchone()
    return Renewed(at.now, 0, None if stop is None else stop[0])


def _reopen(db: Connection, job: int, claim: Claim) -> None:
    """Undo that a reader took this run for abandoned while its lease was gone."""
    row = db.execute(
        "SELECT seq, text FROM records WHERE run_id = ? AND job = ? AND outcome = 'abandoned'",
        (claim.owner.run_id, job),
    ).fetchone()
    if row is None:
        return
    seq, text = row
    text = text.replace(f'"outcome":"{ABANDONED}"', f'"outcome":"{RUNNING}"', 1)
    db.execute(
        "UPDATE records SET outcome = 'running', ended_wall = NULL, text = ? WHERE seq = ?",
        (text, seq),
    )
    bump(db, job, ABANDONED, -1)
    recount(db, job)
