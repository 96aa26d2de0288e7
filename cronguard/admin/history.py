"""`cronguard history`: the runs that were, newest first."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import (
    ALL_KEPT,
    Here,
    no_such_job,
    say_damaged,
    wall_now,
    with_store,
)
from cronguard.admin.filters import Filter, begun_at, with_filters
from cronguard.admin.output import say_json, say_table
from cronguard.config.values import shown
from cronguard.core import exits
from cronguard.core.record import KEPT_SKIPS, SKIPPED
from cronguard.core.words import span
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

_COLUMNS = ["RUN", "JOB", "STARTED", "LASTED", "OUTCOME", "HOST"]


def collect(
    history: History, jobs: list[str], limit: int, *, skips: bool, wanted: Filter
) -> tuple[list[render.Record], list[str]]:
    """Return the newest *limit* records of *jobs* that are wanted.

    Besides, why some of *jobs* cannot be read.
    """
    found: list[render.Record] = []
    damage: list[str] = []
    for job in jobs:
        try:
            found += of_job(history, job, limit, skips=skips, wanted=wanted)
        except Damaged as error:
            damage.append(str(error))
    found.sort(key=begun_at, reverse=True)
    return found[:limit], damage


def of_job(
    history: History, job: str, limit: int, *, skips: bool, wanted: Filter
) -> list[render.Record]:
    """Return the records of one job that are wanted, of its newest *limit* at least."""
    found: list[render.Record] = []
    if not wanted.only_skips:
        found += history.runs(job, ALL_KEPT if wanted.narrows else limit)
    if skips or SKIPPED in wanted.outcomes:
        found += history.skips(job, KEPT_SKIPS if wanted.narrows else limit)
    return [record for record in found if wanted.wants(record)]


def unknown(history: History, jobs: tuple[str, ...]) -> int:
    """Say which of *jobs* the store does not know, and return the status; 0 if it knows all."""
    if not jobs:
        return exits.DONE
    known = set(history.jobs())
    return next((no_such_job(history, job) for job in jobs if job not in known), exits.DONE)


def _row(record: render.Record, now: int) -> list[str]:
    lasted = record.get("duration_ms")
    return [
        render.short(record.get("run_id")),
        render.word(record.get("job")),
        render.moment(begun_at(record), now),
        span(lasted) if isinstance(lasted, int) else "-",
        render.result(record),
        render.word(record.get("host")),
    ]


def _count(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:9]) > 0:
        return int(text[:9])
    raise click.BadParameter(f"{shown(text)} is not a number of runs; write 1 or more")


@click.command()
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@click.option(
    "-l",
    "--limit",
    callback=_count,
    default="20",
    metavar="N",
    show_default=True,
    help="Show so many at most.",
)
@click.option("--skips", is_flag=True, help="Show runs that were skipped as well.")
@with_filters
@with_store
def command(*, here: Here, jobs: tuple[str, ...], limit: int, skips: bool, wanted: Filter) -> int:
    """Show the runs of all jobs (or of each JOB), newest first."""
    with here.history(jobs[0] if len(jobs) == 1 else "") as history:
        if no := unknown(history, jobs):
            return no
        names = sorted(set(jobs)) or history.jobs()
        found, damage = collect(history, names, limit, skips=skips, wanted=wanted)
    now = wall_now()
    if here.as_json:
        say_json(found)
    else:
        say_table(_COLUMNS, [_row(record, now) for record in found], "No such run is recorded.")
    return say_damaged(damage)
