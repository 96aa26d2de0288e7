"""When a crontab's line is due, by cronsim. The time and the zone are given."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LOOKED_AT = 200
"""So many runs show the shortest time between two, also with lists and uneven steps."""


class Impossible(Exception):
    """cron can make nothing of this schedule, or it names a moment that never comes."""


def expression(schedule: str) -> str | None:
    """Return the five fields, or None for @reboot and what only some crons know."""
    if schedule[:1] == "@":
        word = schedule.lower()
        if word not in _WORDS and word != "@reboot":
            raise Impossible(f"there is no {schedule}; write @daily, or five fields")
        return _WORDS.get(word)
    fields = " ".join(schedule.removeprefix("-").split())
    return None if "~" in fields else fields


def next_due(schedule: str, now: datetime) -> datetime | None:
    """Return the next moment after *now*, or None where there is no telling. Raises: Impossible."""
    return next(iter(_moments(schedule, now, 1)), None)


def period_s(schedule: str, now: datetime) -> int | None:
    """Return the shortest time between two runs, or None. Raises: Impossible."""
    moments = [moment.astimezone(UTC) for moment in _moments(schedule, now, _LOOKED_AT)]
    gaps = [int((later - first).total_seconds()) for first, later in pairwise(moments)]
    return min(gaps, default=None)


def _moments(schedule: str, now: datetime, count: int) -> list[datetime]:
    fields = expression(schedule)
    if fields is None:
        return []
    try:
        found = list(islice(CronSim(fields, now), count))
    except CronSimError as error:
        raise Impossible(f"the schedule {fields} is impossible: {_lower(error)}") from None
    if not found:
        raise Impossible(f"the schedule {fields} names a day that never comes")
    return found


def _lower(error: CronSimError) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]


def zone(named: str = "") -> tzinfo:
    """Return the zone of that name, else of this host. Raises: Impossible."""
    if named:
        try:
            return ZoneInfo(named)
        except (ValueError, OSError, KeyError):
            text = f"CRON_TZ {named!a} is no time zone here; write it as Europe/Berlin"
            raise Impossible(text) from None
    try:
        return ZoneInfo(os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2])
    except (ValueError, OSError, KeyError):
        return datetime.now().astimezone().tzinfo or UTC
