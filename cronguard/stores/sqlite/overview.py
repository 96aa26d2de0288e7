# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""What readers ask about many jobs at once: one query for all of them, not one a job.

Every function runs inside its caller's transaction, and takes the names of the jobs as a set in
JSON, which SQLite reads itself: so there is no limit to their number. What nobody asked for is in
no answer, and neither is a row that holds what none of ours can: it is to hide no other.
"""

from __future__ import annotations

import json

from cronguard.core.decode import readable
from cronguard.core.spec import owner_from
from cronguard.stores.contract import Lease, Overview
from cronguard.stores.sqlite.rows import LIVE, UNTIL_RESUMED, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cronguard.stores.sqlite.engine import Connection
    from cronguard.stores.sqlite.rows import Moment

_WANTED = (
    "json_each(?) AS wanted CROSS JOIN jobs ON jobs.namespace = ? AND jobs.name = wanted.value"
)
"""CROSS: SQLite keeps the order, so it goes from the names that are wanted to what they have."""


class Wanted:
    """Which jobs are asked about, as a query takes them."""

    def __init__(self, namespace: str, jobs: list[str]) -> None:
        self.jobs = jobs
        self.key = json.dumps(sorted(set(jobs))), namespace


def leases(db: Connection, wanted: Wanted, at: Moment) -> dict[str, list[Lease]]:
    """Return the live leases of each job, by index; a job without one has an empty list."""
    found: dict[str, list[Lease]] = {job: [] for job in wanted.jobs}
    rows = db.execute(
        "SELECT jobs.name, idx, run_id, leases.token, px, deadline, released, facts "
        f"FROM {_WANTED} CROSS JOIN leases ON job = jobs.id WHERE {LIVE} ORDER BY idx",
        (*wanted.key, at.boot, at.now),
    )
    for job, idx, run_id, token, px, deadline, released, facts in rows:
        if not (isinstance(run_id, str) and _are_numbers(idx, token, px, deadline)):
            continue
        lease = Lease(
            job=job,
            index=idx,
            owner=owner_from(run_id, readable(facts)),
            token=token,
            px=px,
            left=deadline - at.now,
            released=bool(released),
        )
        found[job].append(lease)
    return found


def waiters(db: Connection, wanted: Wanted, at: Moment) -> dict[str, list[str]]:
    """Return the run ids in the queue of each job that has one, first one first."""
    return _lists(
        db.execute(
            f"SELECT jobs.name, run_id FROM {_WANTED} CROSS JOIN waiters ON job = jobs.id "
            f"WHERE {LIVE} ORDER BY ticket",
            (*wanted.key, at.boot, at.now),
        )
    )


def last(db: Connection, wanted: Wanted) -> dict[str, dict[str, object]]:
    """Return the newest record of a run of each job that has one."""
    rows = db.execute(
        f"SELECT jobs.name, text FROM {_WANTED} CROSS JOIN records ON seq = "
        "(SELECT max(seq) FROM records WHERE job = jobs.id AND is_skip = 0)",
        wanted.key,
    )
    return {job: record for job, text in rows if (record := readable(text))}


def recent(db: Connection, wanted: Wanted, limit: int) -> dict[str, list[dict[str, object]]]:
    """Return the newest records of runs of each job, up to their output; newest first."""
    found: dict[str, list[dict[str, object]]] = {job: [] for job in wanted.jobs}
    output = "instr(text, ',\"output_tail\":')"
    rows = db.execute(
        f"SELECT jobs.name, iif({output}, substr(text, 1, {output} - 1) || '}}', text) "
        f"FROM {_WANTED} CROSS JOIN records ON seq IN (SELECT seq FROM records AS of_job "
        "WHERE of_job.job = jobs.id AND is_skip = 0 ORDER BY seq DESC LIMIT ?) ORDER BY seq DESC",
        (*wanted.key, limit),
    )
    for job, text in rows:
        if record := readable(text):
            found[job].append(record)
    return found


def counters(db: Connection, wanted: Wanted) -> dict[str, dict[str, int]]:
    """Return the counters of each job."""
    found: dict[str, dict[str, int]] = {job: {} for job in wanted.jobs}
    rows = db.execute(
        "SELECT jobs.name, counters.name, counters.value "
        f"FROM {_WANTED} CROSS JOIN counters ON job = jobs.id",
        wanted.key,
    )
    for job, name, value in rows:
        if isinstance(name, str) and _are_numbers(value):
            found[job][name] = value
    return found


def left_behind(db: Connection, wanted: Wanted, at: Moment) -> list[int]:
    """Return the numbers of the jobs with an open record whose run has no lease any more."""
    rows = db.execute(
        f"SELECT DISTINCT jobs.id FROM {_WANTED} CROSS JOIN records "
        "ON records.job = jobs.id AND outcome = 'running' WHERE NOT EXISTS (SELECT 1 FROM leases "
        f"WHERE job = jobs.id AND run_id = records.run_id AND released = 0 AND {LIVE})",
        (*wanted.key, at.boot, at.now),
    )
    return [job for (job,) in rows]


def overview(db: Connection, wanted: Wanted, at: Moment, live: bool) -> dict[str, Overview]:
    """Return all of it for each job; with *live* only for those that have a live lease."""
    held = leases(db, wanted, at)
    if live:
        wanted = Wanted(wanted.key[1], [job for job in wanted.jobs if held[job]])
    waiting, newest, counts = waiters(db, wanted, at), last(db, wanted), counters(db, wanted)
    records, pauses = _records(db, wanted, at), paused(db, wanted)
    return {
        job: Overview(
            held[job],
            waiting.get(job, []),
            newest.get(job),
            counts[job],
            records.get(job, {}),
            paused=pauses.get(job),
        )
        for job in wanted.jobs
    }


def paused(db: Connection, wanted: Wanted) -> dict[str, dict[str, object]]:
    """Return what `pause` left of each job that has it."""
    rows = db.execute(
        "SELECT jobs.name, paused_until_wall, paused_reason, paused_by "
        f"FROM {_WANTED} WHERE paused_until_wall IS NOT NULL",
        wanted.key,
    )
    return {
        job: {
            "until": (until if isinstance(until, int) else UNTIL_RESUMED) or None,
            "reason": text_of(reason),
            "by": text_of(by),
        }
        for job, until, reason, by in rows
    }


def _records(db: Connection, wanted: Wanted, at: Moment) -> dict[str, dict[str, dict[str, object]]]:
    """Return the records of the runs that hold a live lease, by job and run id."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    rows = db.execute(
        f"SELECT jobs.name, records.run_id, text FROM {_WANTED} "
        "CROSS JOIN leases ON leases.job = jobs.id "
        "CROSS JOIN records ON records.run_id = leases.run_id AND records.job = jobs.id "
        f"WHERE {LIVE}",
        (*wanted.key, at.boot, at.now),
    )
    for job, run_id, text in rows:
        if record := readable(text):
            found.setdefault(job, {})[run_id] = record
    return found


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int) for value in values)


def _lists(rows: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job, value in rows:
        if isinstance(value, str):
            found.setdefault(job, []).append(value)
    return found
