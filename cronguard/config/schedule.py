"""Cron expressions in a time zone, as moments. Loaded only with --schedule.

cronsim does what Debian's cron does where clocks change: a job of a fixed time that falls into the
hour that is left out runs right after it, and one in the hour that comes twice runs once.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from cronguard.config.values import shown
from cronguard.core.slot import among, kept_for

LOCAL = "local"
_FIELDS = 5
_ASIDE = 3
"""How many moments a store is told of, on each side of what this host takes for now."""
_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule:
    """When a job is due. Raises: ValueError for what is no expression or zone."""

    def __init__(self, expression: str, zone: str = LOCAL) -> None:
        self.expression = expression
        self.zone = zone_of(zone)
        if len(expression.split()) != _FIELDS:
            raise ValueError(
                "a schedule has five fields (minute, hour, day of month, month, day of week), "
                "like '*/5 * * * *'"
            )
        try:
            some = list(islice(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)), 1))
        except CronSimError as error:
            what = str(error)
            raise ValueError(
                f"{what[:1].lower()}{what[1:]}; write five fields like '*/5 * * * *'"
            ) from None
        if not some:
            raise ValueError("there is no such day in fifty years; check day and month")

    def after(self, clock: int, count: int) -> list[int]:
        """Return the next *count* moments after *clock*, in ms since the epoch."""
        return self._walk(clock, count, reverse=False)

    def until(self, clock: int, count: int) -> list[int]:
        """Return the last *count* moments up to *clock*, in order."""
        return self._walk(clock + 1, count, reverse=True)[::-1]

    def around(self, clock: int) -> tuple[str, int]:
        """Return the rule for the slots near *clock*, and how long a used one is remembered."""
        moments = [*self.until(clock, _ASIDE), *self.after(clock, _ASIDE)]
        gaps = [later - moment for moment, later in pairwise(moments)]
        return among(moments), kept_for(max(gaps))

    def _walk(self, clock: int, count: int, *, reverse: bool) -> list[int]:
        start = (_EPOCH + clock * _MS).astimezone(self.zone)
        found: list[int] = []
        for moment in CronSim(self.expression, start, reverse=reverse):
            at = (moment - _EPOCH) // _MS
            # Where clocks change two of them can fall on one moment, or behind it.
            if (at < clock if reverse else at > clock) and at not in found:
                found.append(at)
            if len(found) == count:
                break
        return sorted(found, reverse=reverse)


def zone_of(name: str) -> tzinfo:
    """Return the time zone; `local` is this host's. Raises: ValueError."""
    if name == LOCAL:
        return _local()
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(
            f"there is no time zone {shown(name)} here; write one like Europe/Berlin or UTC "
            "(the package tzdata has them)"
        ) from None


def name_of(zone: str) -> str:
    """Return the name of a time zone for other hosts; `local` where this host's has none."""
    if zone != LOCAL:
        return zone
    if name := os.environ.get("TZ", "").lstrip(":"):
        return name
    try:
        link = os.readlink("/etc/localtime")
    except FileNotFoundError:
        return "UTC"
    except OSError:  # a file of its own, which does not say whose it is
        return LOCAL
    return link.partition("/zoneinfo/")[2] or LOCAL


def _local() -> tzinfo:
    """Return the zone that cron on this host goes by: TZ, else /etc/localtime, else UTC."""
    name = os.environ.get("TZ", "").lstrip(":")
    if name:
        return zone_of(name)
    try:
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file, "local")
    except (ValueError, OSError):
        return UTC
