"""Runs that were due and never came: told by the run that comes after them.

Nobody is there to tell that a host was down, or that its cron was. So a run that has a slot of a
schedule looks back at the run before it: what was due in between, and neither ran, nor was skipped,
nor fell into the time of another run, is missing. One run comes after such a gap, so one tells.

It is looked at by the process that tells, when the lock has been given back, and only where a
reporter wants to hear of it; not after a run on this host that had the slot before (last_slot.py).
"""

from __future__ import annotations

import json

from cronguard.core import record as records
from cronguard.core.moments import wall_ms
from cronguard.runtime.last_slot import LastSlot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cronguard.runtime.asked import Asked

    Record = dict[str, object]
    Following = Callable[[int], int]

MOST = 1_000
"""So many are counted at most: a schedule is walked moment by moment."""


def keep_report(asked: Asked) -> bool:
    """Keep a report of what is missing before the run that asks; tell whether anything is.

    Raises: whatever a store may.
    """
    run = json.loads(asked.record)
    slot, schedule = wall_ms(run.get("slot")), run.get("schedule")
    if slot is None or not isinstance(schedule, dict):
        return False
    others = asked.history(records.KEPT_RUNS, records.KEPT_SKIPS)
    gone = missing(others, run, _rule(schedule))
    if gone:
        asked.keep(asked.record, "missed", asked.run_id, asked.at - 1, warning=said(gone))
    LastSlot(asked.state, asked.job, asked.namespace, schedule).note(slot)
    return bool(gone)


def missing(others: Iterable[Record], run: Record, following: Following) -> list[int]:
    """Return the moments, in order, at which runs were due and never came before *run*.

    *others* are records of the job, runs and skips; *following* gives the moment after one. A run
    whose predecessor went by another schedule misses none.
    """
    slot, schedule = wall_ms(run.get("slot")), run.get("schedule")
    assert slot is not None
    known = [one for one in others if one.get("run_id") != run.get("run_id")]
    slots = [(wall_ms(one.get("slot")) or 0, one.get("schedule")) for one in known]
    before, its_schedule = max((one for one in slots if one[0] < slot), default=(0, None), key=_at)
    if not before or its_schedule != schedule:
        return []
    gone: list[int] = []
    at = following(before)
    while at < slot and len(gone) < MOST:
        if not any(_covers(one, at, following(at)) for one in known):
            gone.append(at)
        at = following(at)
    return gone


def said(gone: list[int]) -> str:
    """Return what is told of them."""
    first, last = records.utc(gone[0]), records.utc(gone[-1])
    if len(gone) == 1:
        return f"a run is missing before this one: it was due at {first}"
    count = f"{len(gone)} runs" if len(gone) < MOST else f"{MOST} runs or more"
    return f"{count} are missing before this one: they were due from {first} to {last}"


def _at(one: tuple[int, object]) -> int:
    return one[0]


def _covers(one: Record, due: int, next_due: int) -> bool:
    """Tell whether that run, or its skip, is why nothing ran for *due*."""
    begun = wall_ms(one.get("queued_at")) or wall_ms(one.get("started_at")) or 0
    ended = wall_ms(one.get("ended_at")) or begun
    early = (next_due - due) // 2
    return due - early <= begun < due + early or begun <= due <= ended


def _rule(schedule: dict[str, object]) -> Following:
    """Return what gives the moment after one. Raises: ValueError for a schedule that is none."""
    period = schedule.get("once_ms")
    if isinstance(period, int) and period > 0:
        return lambda at: (at // period + 1) * period
    from cronguard.config.schedule import Schedule  # noqa: PLC0415 - cronsim is slow

    rule = Schedule(str(schedule.get("cron")), str(schedule.get("tz")))
    return lambda at: rule.after(at, 1)[0]
