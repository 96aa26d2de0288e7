"""`cronguard logs`: the output that was kept of a run."""

from __future__ import annotations

import click

from cronguard.admin import render
from cronguard.admin.common import Here, find_run, with_store
from cronguard.admin.output import say_error, say_json
from cronguard.core import exits
from cronguard.core.record import RUNNING


@click.command()
@click.argument("run")
@click.option("--raw", is_flag=True, help="Print it unchanged, with what a terminal obeys.")
@with_store
def command(*, here: Here, run: str, raw: bool) -> int:
    """Show the kept output of RUN: the first digits of its id, or a job for its newest run."""
    with here.history() as history:
        record = find_run(history, run)
    if isinstance(record, int):
        return record
    kept = record.get("output_tail")
    if here.as_json:
        keys = ("job", "run_id", "output_bytes", "output_tail")
        say_json({key: record.get(key) for key in keys})
        return exits.DONE
    if not isinstance(kept, str) or not kept:
        return _nothing(record)
    shown = kept if raw else render.lines_of(kept)
    click.echo(shown, nl=not shown.endswith("\n"))
    return exits.DONE


def _nothing(record: render.Record) -> int:
    who = f"{render.word(record.get('job'))}: run {render.short(record.get('run_id'))}"
    if record.get("outcome") == RUNNING:
        why = "still runs; its output is kept when it ends"
    elif record.get("output_bytes") == 0:
        why = "wrote nothing"
    else:
        why = "has no kept output: it never started, or its output went straight to its reader"
    return say_error(f"{who} {why}.", exits.NO)
