"""`cronguard export`: what is recorded, for other programs.

Job by job, so that no store's records are in memory at once: a job has up to some megabytes.

JSON is exact. CSV is for spreadsheets, so a text that one would take for a formula (it begins with
`=`, `+`, `-`, `@`, a tab or a line's end) gets an apostrophe in front, and what a terminal would
obey is escaped: commands, hosts and output are what strangers may have written.
"""

from __future__ import annotations

import csv
import io
import json
import sys

import click

from cronguard.admin import render
from cronguard.admin.common import ALL_KEPT, Here, say_damaged, with_store
from cronguard.admin.export_metrics import metrics_command
from cronguard.admin.filters import Filter, begun_at, with_filters
from cronguard.admin.groups import Group
from cronguard.admin.history import of_job, unknown
from cronguard.admin.progress import each
from cronguard.core.record import FIELDS
from cronguard.stores.contract import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cronguard.stores.contract import History

_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def cell(value: object) -> str | int:
    """Return a value of a record as CSV has it; lists and objects as JSON, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    safe = render.lines_of(text)
    return f"'{safe}" if safe.startswith(_FORMULA) else safe


def csv_line(cells: list[str | int]) -> str:
    """Return one row, quoted where it needs to be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def records(
    history: History, jobs: Iterable[str], wanted: Filter, damage: list[str]
) -> Iterator[render.Record]:
    """Yield what is kept of each job, newest first; note in *damage* what cannot be read."""
    for job in jobs:
        try:
            found = of_job(history, job, ALL_KEPT, skips=True, wanted=wanted)
        except Damaged as error:
            damage.append(str(error))
            continue
        yield from sorted(found, key=begun_at, reverse=True)


def _shown(jobs: list[str]) -> Iterable[str]:
    """Return *jobs*, with a bar; not where the records themselves show that it goes on."""
    return jobs if sys.stdout.isatty() else each(jobs, "reading jobs")


def _say_csv(found: Iterator[render.Record]) -> None:
    click.echo(csv_line(list(FIELDS)), nl=False)
    for record in found:
        click.echo(csv_line([cell(record.get(name)) for name in FIELDS]), nl=False)


def _say_json(found: Iterator[render.Record]) -> None:
    begin = "["
    for record in found:
        click.echo(f"{begin}\n{json.dumps(record)}", nl=False)
        begin = ","
    click.echo("[]" if begin == "[" else "\n]")


@click.group(cls=Group, no_args_is_help=True)
def command() -> None:
    """Write what is recorded, for other programs."""


command.add_command(metrics_command)


@command.command("history")
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "csv"]),
    help="json (exact; the default), or csv (safe for spreadsheets).",
)
@with_filters
@with_store
def history_command(*, here: Here, jobs: tuple[str, ...], kind: str | None, wanted: Filter) -> int:
    """Write all records that are kept, of runs and of skips: job by job, newest first."""
    if here.as_json and kind == "csv":
        raise click.UsageError("--json and --format csv contradict each other; give one of them")
    damage: list[str] = []
    with here.history(jobs[0] if len(jobs) == 1 else "") as history:
        if no := unknown(history, jobs):
            return no
        wanted_jobs = sorted(set(jobs)) or history.jobs()
        found = records(history, _shown(wanted_jobs), wanted, damage)
        (_say_csv if kind == "csv" else _say_json)(found)
    return say_damaged(damage)
