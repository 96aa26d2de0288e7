"""`cronguard check`: for monitoring systems, after the convention of their plugins.

One line with the word, what is wrong, and figures behind a `|`; status 0 OK, 1 WARNING, 2 CRITICAL,
3 UNKNOWN. Whatever else goes wrong (usage, configuration, store) is UNKNOWN, on stdout as well: a
monitoring system shows nothing else.
"""

from __future__ import annotations

import os
from typing import Any

import click

from cronguard.admin.common import Here, wall_now, with_store
from cronguard.admin.figures import Figures, Spread
from cronguard.admin.output import say, say_json
from cronguard.admin.pause import standing
from cronguard.admin.unlock import seems_alive
from cronguard.admin.verdict import (
    OK,
    UNKNOWN,
    WORDS,
    Expected,
    Facts,
    Finding,
    Limits,
    badness,
    judge,
)
from cronguard.config import options as opt
from cronguard.config import values
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.config.schedule import LOCAL, Schedule
from cronguard.core.messages import printable
from cronguard.core.record import KEPT_RUNS, KEPT_SKIPS
from cronguard.stores.contract import Damaged, Overview, StoreDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

_TOLD = 5
"""So many jobs are told of on the line; --json has them all."""


class Plugin(click.Command):
    """A command whose wrong usage is UNKNOWN: 2 would be CRITICAL."""

    def make_context(self, *args: Any, **named: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*args, **named)
        except click.UsageError as error:
            raise click.exceptions.Exit(_unknown(error.format_message())) from None


def _unknown(text: str, *, as_json: bool = False) -> int:
    return _answer([Finding("", UNKNOWN, "check", text)], "", {}, as_json=as_json)


def _answer(
    found: list[Finding], well: str, figures: dict[str, str], *, as_json: bool = False
) -> int:
    """Say what was found, the worst first; return the status."""
    found = sorted(found, key=lambda one: badness(one.level), reverse=True)
    level = found[0].level if found else OK
    if as_json:
        told = [one.as_json() for one in found]
        say_json({"status": WORDS[level], "exit_status": level, "findings": told, "perf": figures})
        return level
    texts = [f"{one.job}: {one.text}" if one.job else one.text for one in found[:_TOLD]]
    if len(found) > _TOLD:
        texts.append(f"and {len(found) - _TOLD} more")
    line = printable("; ".join(texts) or well, 2000).replace("|", "/")
    behind = " ".join(f"{name}={value}" for name, value in figures.items())
    say(f"CRONGUARD {WORDS[level].upper()} - {line}" + (f" | {behind}" if behind else ""))
    return level


def facts_of(history: History, job: str, seen: Overview, limits: Limits, now: int) -> Facts:
    """Return what is to be known of a job; its records are read only where they can matter."""
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
        paused=standing(seen.paused, now) is not None,
    )


def expected_of(settings: Settings, job: str, at: int) -> Expected:
    """Return what the configuration expects of *job* at that moment. Raises: ConfigError."""
    settings.for_job(job)
    timeout, expression = settings.value(opt.TIMEOUT), settings.value(opt.SCHEDULE)
    longest = timeout if isinstance(timeout, int) else None
    if expression:
        schedule = Schedule(str(expression), str(settings.value(opt.TZ) or LOCAL))
        [due], [following] = schedule.until(at, 1), schedule.after(at, 1)
        return Expected(longest, due, following - due)
    once = settings.raw(opt.ONCE)
    period = settings.value(opt.ONCE)
    in_job = settings.files is not None and settings.files.is_in_job(job, opt.ONCE.name)
    if in_job and once and once[0] not in values.PLAIN_ONCE and isinstance(period, int) and period:
        return Expected(longest, at // period * period, period)
    return Expected(longest)


def figures_of(facts: Facts, limits: Limits, now: int) -> dict[str, str]:
    """Return what is measured of one job, as the plugin convention writes it."""
    age = max(facts.ages(now).values(), default=0)
    failures = facts.seen.counters.get("failures_in_a_row", 0)
    return {
        "running": str(len(facts.live)),
        "age": f"{age // 1000}s",
        "failures": f"{failures};1;{limits.failures}",
        "skips": f"{facts.skipped()};{limits.skips}",
    }


def _duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else values.duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=Plugin)
@click.argument("job", required=False, default="")
@click.option(
    "--failures",
    type=click.IntRange(1),
    default=3,
    metavar="N",
    show_default=True,
    help="CRITICAL from so many failures in a row on; WARNING from one.",
)
@click.option(
    "--skips",
    type=click.IntRange(1),
    default=3,
    metavar="N",
    show_default=True,
    help="WARNING when so many in a row found the lock held.",
)
@click.option(
    "--grace",
    callback=_duration,
    default="5m",
    metavar="DUR",
    show_default=True,
    help="How late a run of a schedule may start.",
)
@click.option(
    "--critical",
    callback=_duration,
    metavar="DUR",
    help="CRITICAL when a run takes longer; else the job's timeout counts.",
)
@with_store
def command(
    *, here: Here, job: str, failures: int, skips: int, grace: int, critical: int | None
) -> int:
    """Check all jobs (or JOB) for a monitoring system: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

    Whether a job is overdue is told from the schedule (or the period of `once`) in its section of
    the configuration.
    """
    limits = Limits(failures, skips, grace, critical)
    try:
        return _check(here, job, limits)
    except (StoreDown, ConfigError) as error:
        return _unknown(str(error), as_json=here.as_json)


def _check(here: Here, job: str, limits: Limits) -> int:
    now = wall_now()
    settings = Settings(here.flags, os.environ)
    with here.history(job) as history:
        known = set(history.jobs())
        known |= set(settings.files.jobs if settings.files is not None else ())
        if not known or (job and job not in known):
            what = f"{job}: no job of this name" if job else "no job"
            text = f"{what} ever ran with {history.label}, or is in the configuration"
            return _unknown(text, as_json=here.as_json)
        seen = history.overview([job] if job else sorted(known))
        every = [facts_of(history, name, one, limits, now) for name, one in seen.items()]
    judged = {
        facts.job: judge(facts, limits, expected_of(settings, facts.job, now - limits.grace), now)
        for facts in every
    }
    found = [finding for findings in judged.values() for finding in findings]
    bad = sum(map(bool, judged.values()))
    figures = figures_of(every[0], limits, now) if job else {}
    figures |= {"jobs": str(len(every)), "bad": str(bad)}
    paused = sum(facts.paused for facts in every)
    well = (
        f"{job}: well"
        if job
        else f"{len(every)} {'job is' if len(every) == 1 else 'jobs are'} well"
    )
    well += f" ({paused} paused)" if paused and not job else ", paused" if paused else ""
    return _answer(found, well, figures, as_json=here.as_json)
