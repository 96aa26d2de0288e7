"""Which run used up a slot: told by its record. Loaded only when a run is refused for it."""

from __future__ import annotations

from cronguard.core.decode import decode
from cronguard.core.events import Refused
from cronguard.core.spec import owner_from
from cronguard.stores import refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.sqlite.engine import Connection


def done(db: Connection, job: int, user: str, slot: int) -> Refused:
    """Return the refusal: who used the slot, and since when."""
    row = db.execute(
        "SELECT CAST(text AS TEXT) FROM records WHERE job = ? AND run_id = ?", (job, user)
    ).fetchone()
    record = decode(row[0]) if row is not None else {}
    holder = owner_from(user, record)
    started = record.get("started_at")
    if isinstance(started, str):
        [since] = db.execute("SELECT CAST(strftime('%s', ?) AS INTEGER)", (started,)).fetchone()
        holder.since_wall = (since or 0) * 1000
    lease = db.execute("SELECT facts FROM leases WHERE job = ? AND run_id = ?", (job, user))
    if (facts := lease.fetchone()) is not None:  # for the proof that it is dead
        since_wall, holder = holder.since_wall, owner_from(user, decode(str(facts[0])))
        holder.since_wall = since_wall or holder.since_wall
    return refusals.slot_done(holder, slot)
