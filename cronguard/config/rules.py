"""Which run may start: what the options for that allow each, and not together. Imported with them.

Slots need a rule: a period, or a schedule in a time zone.
"""

from __future__ import annotations

from cronguard.config.values import duration_text
from cronguard.core.slot import every, kept_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.schedule import Schedule
    from cronguard.core.spec import JobSpec

_DAY_MS = 86_400_000


class Plan:
    """The rule for slots, how long a used one is remembered, and what is odd about it all.

    `announced` is for the record: when the job is due (see core/record.py), or None. *period* is
    that of --once if it was said: the switch alone says nothing of when the job is due.
    """

    __slots__ = ("announced", "odd", "rule", "schedule", "slot_px")

    def __init__(self, spec: JobSpec, now_wall: int, period: int = 0) -> None:
        self.rule, self.slot_px = "", 0
        self.announced = _announced(period) if period else None
        self.schedule: Schedule | None = None
        gap = spec.once
        if spec.schedule:
            from cronguard.config.schedule import Schedule, name_of  # noqa: PLC0415 - cronsim is slow

            self.announced = _announced(None, spec.schedule, name_of(spec.tz))
            self.schedule = Schedule(spec.schedule, spec.tz)
            self.rule, self.slot_px = self.schedule.around(now_wall)
            first, second = self.schedule.after(now_wall, 2)
            gap = second - first
        elif spec.once:
            self.rule, self.slot_px = every(spec.once), kept_for(spec.once)
        self.odd = list(_odd(spec, gap))
        if spec.force_slot:
            self.rule, self.schedule = "", None


def _announced(
    once_ms: int | None, cron: str | None = None, tz: str | None = None
) -> dict[str, object]:
    return {"once_ms": once_ms, "cron": cron, "tz": tz}


def _odd(spec: JobSpec, gap: int) -> list[str]:
    """Say what is allowed, and hardly meant."""
    found = []
    if not spec.schedule and spec.once and (_DAY_MS % spec.once and spec.once % _DAY_MS):
        found.append(
            f"--once {duration_text(spec.once)} does not divide a day evenly, so its slots begin "
            "at other times each day; a crontab's */N begins anew each hour: use --schedule"
        )
    if gap and spec.jitter > gap // 2:
        found.append(
            f"--jitter {duration_text(spec.jitter)} is longer than half the way to the next slot "
            f"({duration_text(gap)}), so a run may take the next one's; make it shorter"
        )
    return found
