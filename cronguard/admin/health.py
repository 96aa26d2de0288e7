"""`cronguard health`: the verdicts of `check` in JSON, for dashboards and probes."""

from __future__ import annotations

import click

from cronguard.admin.common import Here, no_such_job, wall_now, with_store
from cronguard.admin.output import say_json
from cronguard.admin.survey import Survey, Surveyed, with_limits
from cronguard.admin.verdict import CRITICAL, OK, UNKNOWN, WARNING, WORDS, Limits, badness
from cronguard.core import exits
from cronguard.stores.contract import StoreDown

_WORDS = {OK: "healthy", UNKNOWN: "warning", WARNING: "warning", CRITICAL: "critical"}


def worst(levels: list[int]) -> str:
    """Return the word for the worst of the *levels*."""
    return _WORDS[max(levels, key=badness, default=OK)]


def job_json(one: Surveyed) -> dict[str, object]:
    """Return a job with what is wrong with it, the worst first."""
    return {
        "job": one.job,
        "status": worst([finding.level for finding in one.findings]),
        "running": len(one.facts.live),
        "paused": one.facts.paused,
        "reasons": [
            {"check": finding.check, "level": WORDS[finding.level], "text": finding.text}
            for finding in one.findings
        ],
    }


@click.command()
@click.argument("job", required=False, default="")
@with_limits
@with_store
def command(*, here: Here, job: str, limits: Limits) -> int:
    """Tell in JSON whether all jobs (or JOB) are healthy, by what `cronguard check` looks at.

    `status` is healthy, warning or critical, for all together and for each job, with the reasons;
    what cannot be told is a warning. The exit status is 0 for healthy and warning, 1 for critical,
    69 if the store cannot be reached (which is critical, too: `error` says why).
    """
    try:
        with here.history(job) as history:
            every = Survey(here, limits).of(history, job, wall_now())
            if job and not every:
                return no_such_job(history, job)
    except StoreDown as error:
        say_json({"status": _WORDS[CRITICAL], "jobs": [], "error": str(error)})
        return exits.STORE_DOWN
    status = worst([finding.level for one in every for finding in one.findings])
    say_json({"status": status, "jobs": [job_json(one) for one in every], "error": None})
    return exits.NO if status == _WORDS[CRITICAL] else exits.DONE
