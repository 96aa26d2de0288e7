# ruff: noqa: S608  (what is put together are constants of ours; values are bound)
"""How leases, queue and jobs stand in the tables: what both sides of the store read and write.

Every function runs inside its caller's transaction. A lease row outlives its lease: who held an
index last, and with which token, is what fences a Reclaim. It is live while its boot is this one
and its deadline lies ahead; `released` says that its run is over and only `min_hold` keeps it.
"""

from __future__ import annotations

import os

from cronguard.core.record import as_abandoned, encode, is_failure
from cronguard.core.spec import Owner, owner_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.sqlite.engine import Connection

LIVE = "boot_id = ? AND deadline > ?"
UNTIL_RESUMED = 0
"""In jobs.paused_until_wall; NULL there: not paused."""


class Moment:
    """When a request is executed: `now` ms on CLOCK_BOOTTIME of this `boot`, `wall` since 1970."""

    __slots__ = ("boot", "now", "wall")

    def __init__(self, now: int, wall: int, boot: str) -> None:
        self.now = now
        self.wall = wall
        self.boot = boot


LAST_TICKET = 1 << 62


class LeaseRow:
    """A live lease, as it is stored."""

    __slots__ = ("deadline", "facts", "idx", "px", "released", "run_id", "settings", "token")

    def __init__(
        self,
        idx: int,
        run_id: str,
        token: int,
        px: int,
        deadline: int,
        released: int,
        settings: str,
        facts: str,
    ) -> None:
        self.idx = idx
        self.run_id = run_id
        self.token = token
        self.px = px
        self.deadline = deadline
        self.released = released
        self.settings = settings
        self.facts = facts


def boot_id() -> str:
    """Return the random number that the kernel gave this boot."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode("ascii").strip()
    finally:
        os.close(fd)


def plain(text: str) -> str:
    """Return *text* as SQLite can keep it: bytes that are not UTF-8 become readable escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def text_of(value: object) -> str:
    """Return what a column of text holds, also where nobody of ours wrote it."""
    return value if isinstance(value, str) else ""


def facts_of(owner: Owner) -> str:
    """Return what is kept beside the lease of who holds it, as JSON."""
    facts = owner.facts()
    return encode({k: plain(v) if isinstance(v, str) else v for k, v in facts.items()})


def owner_of(db: Connection, run_id: str, facts: str) -> Owner:
    """Return who holds a lease. SQLite reads the JSON: the module `json` costs 7 ms at start.

    What is no JSON tells nothing of the owner, and that there is one is not in doubt.
    """
    query = "SELECT key, value FROM json_each(CASE WHEN json_valid(?1) THEN ?1 ELSE '{}' END)"
    return owner_from(run_id, dict(db.execute(query, (text_of(facts),))))


def job_of(db: Connection, namespace: str, name: str) -> int | None:
    """Return the number of a job, or None if nobody ever asked for it."""
    found = db.execute("SELECT id FROM jobs WHERE namespace = ? AND name = ?", (namespace, name))
    row = found.fetchone()
    return None if row is None else int(row[0])


def job_made(db: Connection, namespace: str, name: str) -> int:
    """Return the number of a job, which it gets now if it has none."""
    job = job_of(db, namespace, name)
    if job is not None:
        return job
    made = db.execute("INSERT INTO jobs(namespace, name) VALUES(?, ?)", (namespace, name))
    assert made.lastrowid is not None
    return made.lastrowid


def live_leases(db: Connection, job: int, at: Moment) -> list[LeaseRow]:
    """Return the live leases of a job; the one that ends first comes first."""
    rows = db.execute(
        "SELECT idx, run_id, token, px, deadline, released, settings, facts FROM leases "
        f"WHERE job = ? AND {LIVE} ORDER BY deadline, idx",
        (job, at.boot, at.now),
    )
    return [LeaseRow(*row) for row in rows]


def ticket_of(db: Connection, job: int, run_id: str, at: Moment) -> int | None:
    """Return the place of a run in the queue, or None if it does not stand there any more."""
    row = db.execute(
        f"SELECT ticket FROM waiters WHERE job = ? AND run_id = ? AND {LIVE}",
        (job, run_id, at.boot, at.now),
    ).fetchone()
    return None if row is None else int(row[0])


def ahead_of(db: Connection, job: int, ticket: int | None, at: Moment) -> int:
    """Return how many wait before that ticket; with None, how many wait."""
    last = LAST_TICKET if ticket is None else ticket
    row = db.execute(
        f"SELECT count(*) FROM waiters WHERE job = ? AND ticket < ? AND {LIVE}",
        (job, last, at.boot, at.now),
    ).fetchone()
    return int(row[0])


def bump(db: Connection, job: int, name: str, by: int = 1) -> None:
    """Add *by* to a counter."""
    db.execute(
        "INSERT INTO counters VALUES(?, ?, ?) "
        "ON CONFLICT(job, name) DO UPDATE SET value = value + excluded.value",
        (job, name, by),
    )


def put(db: Connection, job: int, name: str, value: int) -> None:
    """Set a counter."""
    db.execute("INSERT OR REPLACE INTO counters VALUES(?, ?, ?)", (job, name, value))


def left_behind(db: Connection, job: int, at: Moment) -> list[tuple[int, str, str]]:
    """Return (seq, run id, text) of the open records whose run has no lease any more."""
    return db.execute(
        "SELECT seq, run_id, CAST(text AS TEXT) FROM records WHERE job = ? AND outcome = 'running' "
        "AND run_id NOT IN (SELECT run_id FROM leases "
        f"WHERE job = ? AND released = 0 AND {LIVE})",
        (job, job, at.boot, at.now),
    ).fetchall()


def close_left_behind(db: Connection, job: int, at: Moment) -> None:
    """Close the records of runs whose keeper vanished, as abandoned."""
    for seq, run_id, text in left_behind(db, job, at):
        db.execute(
            "UPDATE records SET outcome = 'abandoned', ended_wall = ?, text = ? WHERE seq = ?",
            (at.wall, as_abandoned(text), seq),
        )
        db.execute("DELETE FROM stops WHERE job = ? AND run_id = ?", (job, run_id))
        bump(db, job, "abandoned")
        bump(db, job, "failures_in_a_row")
        put(db, job, "last_failure", at.wall)


def recount(db: Connection, job: int) -> None:
    """Count the failures in a row anew, from the records, after one of them changed its outcome."""
    failures = 0
    ended = db.execute(
        "SELECT outcome FROM records WHERE job = ? AND is_skip = 0 AND outcome <> 'running' "
        "ORDER BY seq DESC",
        (job,),
    )
    for (outcome,) in ended:
        if not is_failure(outcome):
            break
        failures += 1
    put(db, job, "failures_in_a_row", failures)
