"""When a job is due: by its section of the configuration, else by what its newest run announced.

What a record announces may be anybody's words: what makes no sense is no announcement.
"""

from __future__ import annotations

from itertools import pairwise

from cronguard.config import options as opt
from cronguard.config import values
from cronguard.config.schedule import LOCAL, Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.resolve import Settings

CONFIGURED, ANNOUNCED = "configuration", "announced"
_LONGEST_TEXT = 200
_LOOKED_AT = 12
"""So many moments show the shortest time between two, with the usual lists and steps."""


class Due:
    """When a job is due: at the multiples of a `period` in ms, or at the times of a schedule.

    `source` says who told it: CONFIGURED or ANNOUNCED. Moments in ms since the epoch.
    """

    def __init__(self, source: str, *, period: int = 0, schedule: Schedule | None = None) -> None:
        assert (schedule is None) is (period > 0)
        self.source = source
        self._period = period
        self._schedule = schedule

    def until(self, at: int) -> int:
        """Return the last moment up to *at*."""
        if self._schedule is None:
            return at // self._period * self._period
        [last] = self._schedule.until(at, 1)
        return last

    def after(self, at: int) -> int:
        """Return the first moment after *at*."""
        if self._schedule is None:
            return (at // self._period + 1) * self._period
        [following] = self._schedule.after(at, 1)
        return following

    def count(self, since: int, until: int, most: int) -> int:
        """Return how many moments are after *since* and not after *until*; *most* at most."""
        if self._schedule is None:
            return min(max(until // self._period - since // self._period, 0), most)
        return sum(at <= until for at in self._schedule.after(since, most))

    def shortest_gap(self, at: int) -> int:
        """Return the shortest time between two of the next moments, in ms."""
        if self._schedule is None:
            return self._period
        moments = self._schedule.after(at, _LOOKED_AT)
        return min(later - moment for moment, later in pairwise(moments))


class Dues:
    """Finds when jobs are due. What several jobs have in common is read once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._schedules: dict[tuple[str, str], Schedule | None] = {}
        variable = settings.environ.get(opt.SCHEDULE.variable, "")
        self._nothing_configured = settings.files is None and not variable

    def of(self, job: str, newest: dict[str, object] | None) -> Due | None:
        """Return when *job*, whose newest record is given, is due; None if nobody said.

        Raises: ConfigError, if its section of the configuration is wrong.
        """
        return self._configured(job) or self._announced((newest or {}).get("schedule"))

    def _configured(self, job: str) -> Due | None:
        if self._nothing_configured:
            return None
        settings = self._settings
        settings.for_job(job)
        if expression := settings.value(opt.SCHEDULE):
            zone = str(settings.value(opt.TZ) or LOCAL)
            return Due(CONFIGURED, schedule=self._schedule(str(expression), zone))
        if settings.files is None or not settings.files.is_in_job(job, opt.ONCE.name):
            return None
        once, period = settings.raw(opt.ONCE), settings.value(opt.ONCE)
        if once and once[0] not in values.PLAIN_ONCE and isinstance(period, int) and period:
            return Due(CONFIGURED, period=period)
        return None

    def _announced(self, said: object) -> Due | None:
        if not isinstance(said, dict):
            return None
        period, cron, zone = (said.get(name) for name in ("once_ms", "cron", "tz"))
        if type(period) is int and 0 < period <= values.LONGEST_MS:
            return Due(ANNOUNCED, period=period)
        if not (isinstance(cron, str) and isinstance(zone, str)):
            return None
        if not (0 < len(cron) <= _LONGEST_TEXT and len(zone) <= _LONGEST_TEXT):
            return None
        try:
            schedule = self._schedule(cron, zone)
        except ValueError:
            return None
        return Due(ANNOUNCED, schedule=schedule)

    def _schedule(self, expression: str, zone: str) -> Schedule:
        """Return the schedule. Raises: ValueError for what is none here."""
        key = expression, zone
        if key not in self._schedules:
            self._schedules[key] = None
            self._schedules[key] = Schedule(expression, zone)
        found = self._schedules[key]
        if found is None:
            raise ValueError(expression)
        return found
