"""`cronguard resume`: a paused job may run again."""

from __future__ import annotations

import click

from cronguard.admin.common import Here, is_job, no_such_job, wall_now, with_store
from cronguard.admin.output import say, say_error, say_json
from cronguard.admin.pause import pause_json, pause_text, standing
from cronguard.core import exits


@click.command()
@click.argument("job")
@with_store
def command(*, here: Here, job: str) -> int:
    """Let JOB run again: its next run starts as usual."""
    with here.history(job) as history:
        if not is_job(history, job):
            return no_such_job(history, job)
        now = wall_now()
        was = standing(history.paused(job), now)
        cleared = history.resume(job)
    if not (was and cleared):
        return say_error(
            f"{job}: it was not paused.\n  `cronguard why {job}` says why it does not run.",
            exits.NO,
        )
    if here.as_json:
        say_json({"job": job, "resumed": True, "was": pause_json(was)})
    else:
        say(f"{job}: resumed; it was {pause_text(was, now)}.")
    return exits.DONE
