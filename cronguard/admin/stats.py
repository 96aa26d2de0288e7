"""`cronguard stats`: how often a job succeeds, how long it takes, and which timeout fits it."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, is_job, no_such_job, say_damaged, with_store
from cronguard.admin.figures import LADDER, Figures, Spread, histogram
from cronguard.admin.output import say, say_json, say_table
from cronguard.config.values import duration_text
from cronguard.core.durations import ENOUGH_RUNS
from cronguard.core.messages import printable, span
from cronguard.core.record import KEPT_RUNS, SUCCEEDED
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.stores.contract import History

_COLUMNS = ["JOB", "RUNS", "SUCCEEDED", "SKIPPED", "P50", "P95", "P99", "LONGEST GAP", "TIMEOUT"]
_BAR = 30


def collect(history: History, jobs: list[str]) -> tuple[list[Figures], list[str]]:
    """Return the figures of each of *jobs*; besides, why some cannot be read."""
    found: list[Figures] = []
    damage: list[str] = []
    for job in jobs:
        try:
            counters = history.counters([job]).get(job, {})
            found.append(Figures(job, history.runs(job, KEPT_RUNS), counters))
        except Damaged as error:
            damage.append(str(error))
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
        f"  waited     {_spread(figures.waits)}",
        f"  lasted     {_spread(figures.durations)}",
        *[f"             {bar}" for bar in bars(figures.durations.values)],
        f"  heartbeat  longest gap {span(gap) if gap is not None else '-'}",
        f"  suggested  {_suggestion(figures)}",
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
    return f"--timeout {duration_text(timeout)} (p95 + 50 %)"


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
    ]


@click.command()
@click.argument("job", required=False, default="")
@with_store
def command(*, here: Here, job: str) -> int:
    """Show how often each job (or JOB) succeeds, how long it takes, and a timeout that fits.

    Durations are those of the runs that succeeded.
    """
    with here.history(job) as history:
        if job and not is_job(history, job):
            return no_such_job(history, job)
        found, damage = collect(history, [job] if job else history.jobs())
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
