"""`cronguard check`: for monitoring systems, after the convention of their plugins.

One line with the word, what is wrong, and figures behind a `|`; status 0 OK, 1 WARNING, 2 CRITICAL,
3 UNKNOWN. Whatever else goes wrong (usage, configuration, store) is UNKNOWN, on stdout as well: a
monitoring system shows nothing else.
"""

from __future__ import annotations

from typing import Any

import click

from cronguard.admin.common import Here, wall_now, with_store
from cronguard.admin.output import say, say_json
from cronguard.admin.survey import Survey, with_limits
from cronguard.admin.verdict import OK, UNKNOWN, WORDS, Finding, Limits, badness
from cronguard.config.options import ConfigError
from cronguard.core.words import printable
from cronguard.stores.contract import StoreDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.verdict import Facts

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


@click.command(cls=Plugin)
@click.argument("job", required=False, default="")
@with_limits
@with_store
def command(*, here: Here, job: str, limits: Limits) -> int:
    """Check all jobs (or JOB) for a monitoring system: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

    Whether a job is overdue is told from the schedule (or the period of `once`) in its section of
    the configuration, or else from the one that its newest run was started with. A heartbeat was a
    near miss (WARNING) when a run was without one for three quarters of the time after which it is
    stopped (of 21.5s, with the usual TTL), in one of the last 5 runs and of the last day.
    """
    try:
        return _check(here, job, limits)
    except (StoreDown, ConfigError) as error:
        return _unknown(str(error), as_json=here.as_json)


def _check(here: Here, job: str, limits: Limits) -> int:
    now = wall_now()
    survey = Survey(here, limits)
    with here.history(job) as history:
        every = survey.of(history, job, now)
        label = history.label
    if not every:
        what = f"{job}: no job of this name" if job else "no job"
        text = f"{what} ever ran with {label}, or is in the configuration"
        return _unknown(text, as_json=here.as_json)
    found = [finding for one in every for finding in one.findings]
    bad = sum(bool(one.findings) for one in every)
    figures = figures_of(every[0].facts, limits, now) if job else {}
    figures |= {"jobs": str(len(every)), "bad": str(bad)}
    paused = sum(one.facts.paused for one in every)
    well = (
        f"{job}: well"
        if job
        else f"{len(every)} {'job is' if len(every) == 1 else 'jobs are'} well"
    )
    well += f" ({paused} paused)" if paused and not job else ", paused" if paused else ""
    return _answer(found, well, figures, as_json=here.as_json)
