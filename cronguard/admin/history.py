"""`cronguard history`: the runs that were, newest first."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import (
    ALL_KEPT,
    Here,
    is_job,
    no_such_job,
    say_damaged,
    wall_now,
    with_store,
)
from cronguard.admin.output import say_json, say_table
from cronguard.config.values import shown
from cronguard.core.messages import span
from cronguard.core.record import KEPT_SKIPS, OUTCOMES, SKIPPED
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import History

_COLUMNS = ["RUN", "JOB", "STARTED", "LASTED", "OUTCOME", "HOST"]


def collect(
    history: History, jobs: list[str], limit: int, *, skips: bool, outcomes: tuple[str, ...]
) -> tuple[list[render.Record], list[str]]:
    """Return the newest *limit* records of *jobs*, only those with one of *outcomes* if any.

    Besides, why some of *jobs* cannot be read.
    """
    found: list[render.Record] = []
    damage: list[str] = []
    filtered = bool(outcomes)
    for job in jobs:
        try:
            if outcomes != (SKIPPED,):
                found += history.runs(job, ALL_KEPT if filtered else limit)
            if skips or SKIPPED in outcomes:
                found += history.skips(job, KEPT_SKIPS if filtered else limit)
        except Damaged as error:
            damage.append(str(error))
    if filtered:
        found = [record for record in found if record.get("outcome") in outcomes]
    found.sort(key=_newest_first)
    return found[:limit], damage


def _newest_first(record: render.Record) -> int:
    begun = render.wall_ms(record.get("started_at")) or render.wall_ms(record.get("queued_at"))
    return -(begun or 0)


def _row(record: render.Record, now: int) -> list[str]:
    begun = render.wall_ms(record.get("started_at")) or render.wall_ms(record.get("queued_at"))
    lasted = record.get("duration_ms")
    return [
        render.short(record.get("run_id")),
        render.word(record.get("job")),
        render.moment(begun, now),
        span(lasted) if isinstance(lasted, int) else "-",
        render.result(record),
        render.word(record.get("host")),
    ]


def _count(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:9]) > 0:
        return int(text[:9])
    raise click.BadParameter(f"{shown(text)} is not a number of runs; write 1 or more")


@click.command()
@click.argument("job", required=False, default="")
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
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice(list(OUTCOMES)),
    metavar="OUTCOME",
    help="Show only runs that ended so; can be given several times.",
)
@with_store
def command(*, here: Here, job: str, limit: int, skips: bool, outcomes: tuple[str, ...]) -> int:
    """Show the runs of all jobs (or of JOB), newest first."""
    with here.history(job) as history:
        if job and not is_job(history, job):
            return no_such_job(history, job)
        jobs = [job] if job else history.jobs()
        found, damage = collect(history, jobs, limit, skips=skips, outcomes=outcomes)
    now = wall_now()
    if here.as_json:
        say_json(found)
    else:
        say_table(_COLUMNS, [_row(record, now) for record in found], "No such run is recorded.")
    return say_damaged(damage)
