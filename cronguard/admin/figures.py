"""What the records of a job add up to. Pure: takes records and counters, returns figures.

Rates and times are those of the newest runs that are kept (KEPT_RUNS), and not of older failures
that are kept beyond them, which would make any job look bad. Times are those of runs that
succeeded: what was stopped, or failed at once, tells nothing of how long the work takes.

Skips are the exception: they are counted since the first run, as few of their records are kept.
"""

from __future__ import annotations

from collections import Counter

from cronguard.core.durations import ENOUGH_RUNS, fitting_timeout, numbers, of_successes, percentile
from cronguard.core.metrics import IN_THE_WAY, LADDER, SECOND
from cronguard.core.record import (
    KEPT_RUNS,
    NOT_STARTED,
    RUNNING,
    SKIPPED,
    STORE_UNAVAILABLE,
    SUCCEEDED,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cronguard.admin.due import Due

Record = dict[str, object]


class Spread:
    """How a number of durations are spread, in ms; all None where there are none."""

    def __init__(self, values: Iterable[int]) -> None:
        self.values = sorted(values)
        self.p50 = percentile(self.values, 50)
        self.p95 = percentile(self.values, 95)
        self.p99 = percentile(self.values, 99)
        self.longest = self.values[-1] if self.values else None

    def as_json(self) -> dict[str, int | None]:
        """Return it for programs."""
        return {
            "count": len(self.values),
            "p50_ms": self.p50,
            "p95_ms": self.p95,
            "p99_ms": self.p99,
            "longest_ms": self.longest,
        }


class Locks:
    """How asking for the lock went.

    `acquired` of the runs got it, `queued` of them after they had waited for another run ·
    `contended` found it held: those that waited, and those that were skipped for it · `failed` of
    the runs could not ask, as the store was not there, or refused them for good.
    """

    def __init__(self, ended: list[Record], skips: dict[str, int]) -> None:
        granted = [one for one in ended if type(one.get("token")) is int]
        self.acquired = len(granted)
        self.queued = sum(isinstance(one.get("holder"), dict) for one in granted)
        self.contended = self.queued + sum(skips.get(reason, 0) for reason in IN_THE_WAY)
        self.failed = sum(_had_no_store(one) for one in ended)

    def as_json(self) -> dict[str, int]:
        """Return it for programs."""
        return {
            "acquired": self.acquired,
            "queued": self.queued,
            "contended": self.contended,
            "failed": self.failed,
        }


def _had_no_store(record: Record) -> bool:
    outcome, reason = record.get("outcome"), record.get("reason")
    if outcome == STORE_UNAVAILABLE or reason == "unguarded":
        return True
    return outcome == NOT_STARTED and reason == "store_denied"


class Period:
    """The shortest time between two moments at which a job is due, in ms, and who said so."""

    def __init__(self, due: Due, now: int) -> None:
        self.ms = due.shortest_gap(now)
        self.source = due.source


class Figures:
    """What *runs* (newest first) and counters of one job add up to."""

    def __init__(
        self,
        job: str,
        runs: list[Record],
        counters: dict[str, int],
        period: Period | None = None,
    ) -> None:
        self.job = job
        self.period = period
        ended = [one for one in runs[:KEPT_RUNS] if one.get("outcome") != RUNNING]
        self.runs = len(ended)
        self.succeeded = sum(one.get("outcome") == SUCCEEDED for one in ended)
        self.outcomes = dict(Counter(str(one.get("outcome")) for one in ended))
        reasons = f"{SKIPPED}:"
        self.skips = {
            name.removeprefix(reasons): count
            for name, count in sorted(counters.items())
            if name.startswith(reasons)
        }
        self.locks = Locks(ended, self.skips)
        self.waits = Spread(numbers(ended, "wait_ms"))
        self.durations = Spread(of_successes(runs))
        self.longest_gap = max(numbers(ended, "longest_gap_ms"), default=None)

    @property
    def success_rate(self) -> float | None:
        """Return which part of the runs succeeded, or None if there are none."""
        return round(self.succeeded / self.runs, 4) if self.runs else None

    @property
    def suggested_timeout(self) -> int | None:
        """Return p95 + 50 %, in whole seconds, or None while there are too few successes."""
        return fitting_timeout(self.durations.values)

    @property
    def suggested_warning(self) -> int | None:
        """Return from when on a run is unusual: p95, in whole seconds; or None, as above."""
        p95 = self._enough_p95
        return None if p95 is None else max(-(-p95 // SECOND), 1) * SECOND

    @property
    def period_too_short(self) -> bool | None:
        """Tell whether 1 of 20 runs is still under way when the next is due; None if not known."""
        p95 = self._enough_p95
        return None if p95 is None or self.period is None else p95 > self.period.ms

    @property
    def _enough_p95(self) -> int | None:
        """How long 95 % of the successes take at most, or None while there are too few."""
        return self.durations.p95 if len(self.durations.values) >= ENOUGH_RUNS else None

    def as_json(self) -> dict[str, object]:
        """Return all of it for programs."""
        bars = histogram(self.durations.values)
        return {
            "job": self.job,
            "runs": self.runs,
            "succeeded": self.succeeded,
            "success_rate": self.success_rate,
            "outcomes": self.outcomes,
            "skips": self.skips,
            "lock": self.locks.as_json(),
            "wait": self.waits.as_json(),
            "duration": self.durations.as_json(),
            "histogram": [{"below_ms": below, "runs": count} for below, count in bars],
            "longest_gap_ms": self.longest_gap,
            "suggested_timeout_ms": self.suggested_timeout,
            "suggested_warn_after_ms": self.suggested_warning,
            "period": self._period_json(),
        }

    def _period_json(self) -> dict[str, object] | None:
        if self.period is None:
            return None
        return {
            "period_ms": self.period.ms,
            "due_from": self.period.source,
            "too_short": self.period_too_short,
        }


def usual(recent: Iterable[Record]) -> int | None:
    """Return how long the job usually takes: the median of its *recent* successes, in ms."""
    good = [one for one in recent if one.get("outcome") == SUCCEEDED]
    return percentile(sorted(numbers(good, "duration_ms")), 50)


def histogram(values: list[int]) -> list[tuple[int | None, int]]:
    """Return (upper bound, how many) from the first bar that is not empty to the last."""
    bounds = [*LADDER, None]
    counts = [0] * len(bounds)
    for value in values:
        counts[sum(value >= bound for bound in LADDER)] += 1
    full = [at for at, count in enumerate(counts) if count]
    bars = list(zip(bounds, counts, strict=True))
    return bars[full[0] : full[-1] + 1] if full else []
