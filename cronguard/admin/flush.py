"""`cronguard flush`: tell the reporters now what waits for them on this host."""

from __future__ import annotations

import os
import time
from contextlib import redirect_stdout

import click

from cronguard.admin.output import say, say_error, say_json
from cronguard.config import values
from cronguard.config.store import folder
from cronguard.core import exits


def _duration(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    try:
        return values.positive(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--timeout",
    callback=_duration,
    default="1m",
    show_default=True,
    metavar="DUR",
    help="How long to go on.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def command(*, timeout: int, as_json: bool) -> int:
    """Tell the reporters what waits for them on this host, in place of the next run.

    Reports wait where a reporter could not be told: in the state folder of the user whose jobs they
    are of. The configuration of now counts, and for runs with --config that file.
    """
    from cronguard.reporters import spool  # noqa: PLC0415 - with what tells: on use
    from cronguard.reporters.process import Teller  # noqa: PLC0415

    state = folder(os.environ)
    until = time.monotonic() + timeout / 1000
    teller = Teller(os.environ)
    with open(os.devnull, "w", encoding="utf-8") as nobody, redirect_stdout(nobody):
        for job in spool.jobs(state) if state is not None else ():
            teller.tell_folder(str(state), job, until, is_patient=True)
    if as_json:
        say_json({"told": teller.told, "waiting": teller.kept, "said": teller.said})
    else:
        for line in teller.said:
            say_error(line, exits.NO)
        if teller.told or teller.kept:
            more = f", {teller.kept} still wait" if teller.kept else ""
            say(f"{teller.told} told{more}.")
        else:
            say("No report waits on this host.")
    return exits.NO if teller.kept else exits.DONE
