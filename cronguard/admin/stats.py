"""`cronguard stats`: how often a job succeeds, how long it takes, and which timeout fits it."""

from __future__ import annotations

import os

import click

from cronguard.admin import render
from cronguard.admin.common import Here, is_job, no_such_job, say_damaged, wall_now, with_store
from cronguard.admin.due import Dues
from cronguard.admin.figures import Figures, Period, Spread, histogram
from cronguard.admin.output import say, say_json, say_table
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.config.values import duration_text
from cronguard.core.durations import ENOUGH_RUNS
from cronguard.core.metrics import LADDER
from cronguard.core.record import KEPT_RUNS, SUCCEEDED
from cronguard.core.words import printable, span
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.stores.contract import History

_COLUMNS = [
    *("JOB", "RUNS", "SUCCEEDED", "SKIPPED", "P50", "P95", "P99", "LONGEST GAP", "TIMEOUT"),
    "PERIOD",
]
_BAR = 30


def collect(
    history: History, jobs: list[str], dues: Dues, now: int
) -> tuple[list[Figures], list[str]]:
    """Return the figures of each of *jobs*; besides, why some cannot be read."""
    found: list[Figures] = []
    damage: list[str] = []
    for job in jobs:
        try:
            counters = history.counters([job]).get(job, {})
            runs = history.runs(job, KEPT_RUNS)
        except Damaged as error:
            damage.append(str(error))
            continue
        try:
            due = dues.of(job, runs[0] if runs else None)
        except ConfigError:  # `config check` and `check` tell of it
            due = None
        found.append(Figures(job, runs, counters, Period(due, now) if due else None))
    return found, damage


def lines(figures: Figures) -> list[str]:
    """Return what to tell people of one job."""
    others = {name: n for name, n in figures.outcomes.items() if name != SUCCEEDED}
    total = sum(figures.skips.values())
    gap = figures.longest_gap
    return [
        f"{printable(figures.job)}: the last {_runs(figures.runs)}",
        f"  succeeded  {_rate(figures)}{_counts(others, '; ')}",
        f"  skipped    {total}{_counts(figures.skips, ': ')} (since the first run)",
        f"  lock       {_locks(figures)}",
        f"  waited     {_spread(figures.waits)}",
        f"  lasted     {_spread(figures.durations)}",
        *[f"             {bar}" for bar in bars(figures.durations.values)],
        f"  heartbeat  longest gap {span(gap) if gap is not None else '-'}",
        f"  suggested  {_suggestion(figures)}",
        *([f"  period     {_period(figures)}"] if figures.period else []),
    ]


def bars(values: list[int]) -> list[str]:
    """Return the histogram as text, a bar a line."""
    found = histogram(values)
    most = max((count for _, count in found), default=1)
    ends = [f"< {duration_text(b)}" if b else f">= {duration_text(LADDER[-1])}" for b, _ in found]
    width = max(map(len, ends), default=0)
    return [
        f"{end:>{width}}  {'#' * -(-count * _BAR // most)} {count}"
        for end, (_, count) in zip(ends, found, strict=True)
    ]


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _rate(figures: Figures) -> str:
    rate = figures.success_rate
    return "-" if rate is None else f"{100 * rate:.4g} % ({figures.succeeded} of {figures.runs})"


def _counts(counts: Mapping[str, int], before: str) -> str:
    text = ", ".join(f"{printable(name, 60)} {count}" for name, count in counts.items())
    return before + text if text else ""


def _locks(figures: Figures) -> str:
    locks = figures.locks
    waited = f" ({locks.queued} got it after waiting)" if locks.queued else ""
    failed = f", failed {locks.failed} (no store)" if locks.failed else ", failed 0"
    return f"acquired {locks.acquired}, contended {locks.contended}{waited}{failed}"


def _spread(spread: Spread) -> str:
    pairs = (("p50", spread.p50), ("p95", spread.p95), ("p99", spread.p99))
    text = ", ".join(f"{name} {_span(ms)}" for name, ms in pairs)
    return f"{text}, longest {_span(spread.longest)}"


def _span(ms: int | None) -> str:
    return "-" if ms is None else span(ms)


def _suggestion(figures: Figures) -> str:
    timeout = figures.suggested_timeout
    if timeout is None:
        few = len(figures.durations.values)
        return f"nothing yet: {_runs(few)} succeeded, and it takes {ENOUGH_RUNS}"
    warning = duration_text(figures.suggested_warning or 0)
    return f"--timeout {duration_text(timeout)} (p95 + 50 %); from {warning} (p95) on, a warning"


def _period(figures: Figures) -> str:
    period, p95 = figures.period, figures.durations.p95
    assert period is not None
    text = f"{duration_text(period.ms)} ({period.source})"
    if figures.period_too_short is None:
        return text
    if not figures.period_too_short:
        return f"{text}: long enough"
    return f"{text}: too short, as 5 % of its runs take longer than {_span(p95)}"


def _short_period(figures: Figures) -> str:
    if figures.period is None:
        return "-"
    return duration_text(figures.period.ms) + ", too short" * bool(figures.period_too_short)


def row(figures: Figures) -> list[str]:
    """Return the job's line of the table."""
    spread, timeout = figures.durations, figures.suggested_timeout
    return [
        render.word(figures.job),
        str(figures.runs),
        "-" if figures.success_rate is None else f"{100 * figures.success_rate:.4g} %",
        str(sum(figures.skips.values())),
        *map(_span, (spread.p50, spread.p95, spread.p99, figures.longest_gap)),
        "-" if timeout is None else duration_text(timeout),
        _short_period(figures),
    ]


@click.command()
@click.argument("job", required=False, default="")
@with_store
def command(*, here: Here, job: str) -> int:
    """Show how often each job (or JOB) succeeds, how long it takes, and a timeout that fits.

    Durations are those of the runs that succeeded. The lock was contended where a run waited for
    another, or was skipped for it (skips count since the first run); it failed where the store
    could not be reached, or refused the run. The period is that of the schedule (or of `once`),
    from the configuration or from what the newest run was started with.
    """
    dues = Dues(Settings(here.flags, os.environ))
    with here.history(job) as history:
        if job and not is_job(history, job):
            return no_such_job(history, job)
        found, damage = collect(history, [job] if job else history.jobs(), dues, wall_now())
        label = history.label
    if here.as_json:
        told = [figures.as_json() for figures in found]
        if not job or told:
            say_json(told[0] if job else told)
    elif job:
        for figures in found:
            say("\n".join(lines(figures)))
    else:
        say_table(_COLUMNS, [row(figures) for figures in found], f"No job ever ran with {label}.")
    return say_damaged(damage)
