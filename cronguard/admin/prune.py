"""`cronguard prune`: forget old records, some at a time: no store is busy with it for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cronguard.admin import render
from cronguard.admin.common import Here, say_damaged, wall_now, with_store
from cronguard.admin.output import say, say_json
from cronguard.admin.progress import each
from cronguard.core.words import printable
from cronguard.stores.contract import Damaged

if TYPE_CHECKING:
    from cronguard.stores.contract import History

DAY_MS = 86_400_000
BATCH = 100
_LONGEST_DAYS = 36_500


def pruned(history: History, job: str, before: int, batch: int, *, dry_run: bool) -> int:
    """Forget all old records of *job*, *batch* at a time; return how many."""
    if dry_run:
        return history.prune(job, before, 1 << 31, dry_run=True)
    count = 0
    while True:
        some = history.prune(job, before, batch)
        count += some
        if some < batch:
            return count


@click.command()
@click.option(
    "--keep",
    "days",
    type=click.IntRange(1, _LONGEST_DAYS),
    required=True,
    metavar="DAYS",
    help="Keep what ended within so many days.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=BATCH,
    show_default=True,
    metavar="N",
    help="Forget so many records at a time: the store is busy for no longer.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many it would forget.")
@with_store
def command(*, here: Here, days: int, batch: int, dry_run: bool) -> int:
    """Forget the records of runs and skips that ended longer ago than --keep.

    Never that of a run under way; counters stay. Stores keep the last 200 runs of a job, its last
    50 failures besides, and its last 50 skips: this is for forgetting earlier.
    """
    counts: dict[str, int] = {}
    damage: list[str] = []
    before = wall_now() - days * DAY_MS
    with here.history() as history:
        for job in each(history.jobs(), "forgetting old records"):
            try:
                count = pruned(history, job, before, batch, dry_run=dry_run)
            except Damaged as error:
                damage.append(str(error))
                continue
            if count:
                counts[job] = count
    if here.as_json:
        say_json([{"job": job, "records": n, "dry_run": dry_run} for job, n in counts.items()])
    else:
        _say(counts, before, dry_run=dry_run)
    return say_damaged(damage)


def _say(counts: dict[str, int], before: int, *, dry_run: bool) -> None:
    when = render.moment(before, wall_now())
    if not counts:
        say(f"No record is older: of what ended before {when} none is kept.")
        return
    for job, count in counts.items():
        word = "would forget" if dry_run else "forgot"
        records = "1 record" if count == 1 else f"{count} records"
        say(f"{printable(job)}: {word} {records} of what ended before {when}.")
