"""Which jobs are in which trouble: what `check` and `health` tell, each in its own form.

Records are read only where they can matter, and those of many jobs in one round trip.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps

import click

from cronguard.admin.due import Dues
from cronguard.admin.figures import Figures, Spread
from cronguard.admin.pause import standing
from cronguard.admin.unlock import seems_alive
from cronguard.admin.verdict import (
    EARLY_MS,
    OVERDUE,
    RECENT_RUNS,
    UNKNOWN,
    Expected,
    Facts,
    Finding,
    Limits,
    judge,
)
from cronguard.config import options as opt
from cronguard.config import values
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.core.lease import FULL_TTL_MS
from cronguard.core.record import KEPT_RUNS, KEPT_SKIPS
from cronguard.stores.contract import Damaged, Overview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.common import Here
    from cronguard.admin.figures import Record
    from cronguard.stores.contract import History


MISSED = 100
"""So many missed runs are counted at most: a schedule is walked moment by moment."""


class Surveyed:
    """A job, what is known of it, and what is wrong with it: the worst first."""

    def __init__(self, facts: Facts, findings: list[Finding]) -> None:
        self.job = facts.job
        self.facts = facts
        self.findings = findings


class Survey:
    """Every job that ever ran, or is in the configuration, judged by the same limits."""

    def __init__(self, here: Here, limits: Limits) -> None:
        self._settings = Settings(here.flags, os.environ)
        self._dues = Dues(self._settings)
        self._limits = limits

    def of(self, history: History, job: str, now: int) -> list[Surveyed]:
        """Return what is known of each job (or of *job*), by name; nothing if there is none."""
        known = self.jobs(history)
        wanted = [name for name in known if job in ("", name)]
        return self.each(history, wanted, now)

    def jobs(self, history: History) -> list[str]:
        """Return the names of all jobs that ever ran, or are in the configuration, sorted."""
        configured = self._settings.files.jobs if self._settings.files is not None else ()
        return sorted({*history.jobs(), *configured})

    def each(self, history: History, wanted: list[str], now: int) -> list[Surveyed]:
        """Return what is known of each of the *wanted* jobs."""
        seen = history.overview(wanted)
        recent = history.recent(wanted, RECENT_RUNS)
        return [
            self._judged(facts_of(history, name, one, self._limits, now, recent[name]), now)
            for name, one in seen.items()
        ]

    def missed(self, one: Surveyed, now: int) -> int | None:
        """Return how many times a job was due since its last start, if it is overdue, else 0.

        MISSED at most, and 1 if it never started; None where nobody said when it is due.
        """
        newest, until = one.facts.seen.last, now - self._limits.grace
        try:
            due = self._dues.of(one.job, newest)
        except ConfigError:
            return None
        if due is None or one.facts.seen.damage:
            return None
        if not any(finding.check == OVERDUE for finding in one.findings):
            return 0
        started = one.facts.seen.counters.get("last_start", 0)
        early = min(due.shortest_gap(started) // 2, EARLY_MS)
        return max(due.count(started + early, until, MISSED), 1) if started else 1

    def _judged(self, facts: Facts, now: int) -> Surveyed:
        try:
            expected = self.expected(facts.job, facts.seen.last, now - self._limits.grace)
        except ConfigError as error:
            wrong = Finding(facts.job, UNKNOWN, "configuration", str(error))
            return Surveyed(facts, [wrong, *judge(facts, self._limits, Expected(), now)])
        return Surveyed(facts, judge(facts, self._limits, expected, now))

    def expected(self, job: str, newest: Record | None, at: int) -> Expected:
        """Return what is expected of *job* at that moment. Raises: ConfigError."""
        settings = self._settings
        settings.for_job(job)
        timeout, ttl = settings.value(opt.TIMEOUT), settings.value(opt.TTL)
        longest = timeout if isinstance(timeout, int) else None
        lease = ttl if isinstance(ttl, int) else FULL_TTL_MS
        due = self._dues.of(job, newest)
        if due is None:
            return Expected(longest, ttl=lease)
        last = due.until(at)
        return Expected(longest, last, due.after(last) - last, ttl=lease)


def facts_of(
    history: History, job: str, seen: Overview, limits: Limits, now: int, recent: list[Record]
) -> Facts:
    """Return what is to be known of a job."""
    live = [lease for lease in seen.leases if not lease.released]
    often = seen.counters.get("skips_since_run", 0) >= limits.skips
    durations, skips = Spread([]), []
    try:
        if live:
            durations = Figures(job, history.runs(job, KEPT_RUNS), {}).durations
        if often:
            skips = history.skips(job, KEPT_SKIPS)
    except Damaged as error:
        seen = Overview([], [], None, {}, {}, str(error))
    return Facts(
        job,
        seen,
        stale=[lease for lease in live if not seems_alive(lease)],
        durations=durations,
        skips=skips,
        recent=recent,
        paused=standing(seen.paused, now) is not None,
    )


def duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Return what an option says in ms. Raises: click.BadParameter."""
    try:
        return None if text is None else values.duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option(
        "--failures",
        type=click.IntRange(1),
        default=3,
        metavar="N",
        show_default=True,
        help="CRITICAL from so many failures in a row on; WARNING from one.",
    ),
    click.option(
        "--skips",
        type=click.IntRange(1),
        default=3,
        metavar="N",
        show_default=True,
        help="WARNING when so many in a row found the lock held.",
    ),
    click.option(
        "--grace",
        callback=duration,
        default="5m",
        metavar="DUR",
        show_default=True,
        help="How late a run of a schedule may start.",
    ),
    click.option(
        "--critical",
        callback=duration,
        metavar="DUR",
        help="CRITICAL when a run takes longer; else the job's timeout counts.",
    ),
)


def with_limits(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command --failures, --skips, --grace and --critical, as one `Limits`."""

    @wraps(function)
    def command(
        *, failures: int, skips: int, grace: int, critical: int | None, **given: object
    ) -> int:
        return function(limits=Limits(failures, skips, grace, critical), **given)

    wrapped: Callable[..., int] = command
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
