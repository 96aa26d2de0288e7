"""`cronguard report`: which reporters there are, what waits for them, and do they work?"""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from typing import TypeVar

import click

from cronguard.admin.common import click_option, wall_now
from cronguard.admin.groups import Group
from cronguard.admin.output import say, say_error, say_json, say_table
from cronguard.config import options as opt
from cronguard.config import reporters
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.config.store import folder
from cronguard.core import exits, redact, telling
from cronguard.core.spec import is_job_name
from cronguard.core.words import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cronguard.config.files import Files

T = TypeVar("T")
_COLUMNS = ["REPORTER", "TYPE", "TOLD OF", "JOBS", "WAITING"]
ALL_JOBS = "all that do not say otherwise"


def _with_config(function: Callable[..., T]) -> Callable[..., T]:
    json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    return click_option(opt.CONFIG)(json_option(function))


@click.group(cls=Group, no_args_is_help=True)
def command() -> None:
    """Show the reporters, and try one."""


@command.command(name="list", short_help="Show the reporters, and how many reports wait for each.")
@_with_config
def list_(*, config: tuple[str, ...], as_json: bool) -> int:
    """Show the reporters that are configured, whom they hear of, and what waits for them."""
    settings = Settings(_flags(config), os.environ)
    found = rows(settings.files, waiting(folder(os.environ)))
    status = exits.NO if any(row["problem"] for row in found) else exits.DONE
    if as_json:
        say_json(found)
        return status
    table = [
        [
            str(row["name"]),
            printable(row["type"]),
            " ".join(map(str, row["told_of"])) if isinstance(row["told_of"], list) else "",
            _jobs_text(row),
            str(row["waiting"]),
        ]
        for row in found
    ]
    hint = 'No reporter is configured: write a section [reporters.NAME], and report = ["NAME"].'
    say_table(_COLUMNS, table, hint)
    for row in found:
        if row["problem"]:
            say_error(printable(row["problem"], 500), exits.NO)
    return status


def rows(files: Files | None, waits: dict[str, int]) -> list[dict[str, object]]:
    """Return what is to be said of each reporter."""
    named = _named(files)
    names = dict.fromkeys([*(files.reporters if files is not None else ()), *named, *waits])
    return [_row(name, files, named.get(name, []), waits.get(name, 0)) for name in names]


def _row(name: str, files: Files | None, jobs: list[str], waits: int) -> dict[str, object]:
    row: dict[str, object] = {
        "name": name,
        "type": None,
        "told_of": [],
        "after": None,
        "changes": None,
        "all_jobs": "" in jobs,
        "jobs": [job for job in jobs if job],
        "waiting": waits,
        "problem": None,
    }
    try:
        target = reporters.of_job([name], "report", files, "")[name]
    except ConfigError as error:
        return row | {"problem": str(error)}
    words = [word for word in telling.WORDS if word in target.rule.on]
    return row | {
        "type": target.type,
        "told_of": words,
        "after": target.rule.after,
        "changes": target.rule.changes,
    }


def _named(files: Files | None) -> dict[str, list[str]]:
    """Return the jobs whose sections name each reporter; "" stands for [defaults]."""
    found: dict[str, list[str]] = {}
    for job, table in (("", files.defaults), *files.jobs.items()) if files is not None else ():
        text, _ = table.get(opt.REPORT.name, ("", ""))
        for name in opt.REPORT.read(text).split() if text else ():  # type: ignore[attr-defined]
            found.setdefault(name, []).append(job)
    return found


def waiting(state: str | None) -> dict[str, int]:
    """Return how many reports wait on this host for each reporter."""
    from cronguard.reporters import spool  # noqa: PLC0415 - with fcntl and json: on use

    found: dict[str, int] = {}
    for job in spool.jobs(state) if state is not None else ():
        for one in spool.look(str(state), job):
            for name in one.to:
                found[name] = found.get(name, 0) + 1
    return found


def _jobs_text(row: dict[str, object]) -> str:
    jobs = row["jobs"]
    assert isinstance(jobs, list)
    return ", ".join([*([ALL_JOBS] if row["all_jobs"] else []), *jobs]) or "none, but for --report"


@command.command(short_help="Send a sample to a reporter.")
@click.argument("name")
@click.option(
    "--event",
    type=click.Choice(list(telling.EVENTS)),
    default=telling.FAILURE,
    show_default=True,
    help="What the sample tells of.",
)
@click.option("--job", default="", metavar="NAME", help="Whose sample it is; some job of no name.")
@_with_config
def test(*, name: str, event: str, job: str, config: tuple[str, ...], as_json: bool) -> int:
    """Send a sample to the reporter NAME, whatever its rules say, and tell whether it took it.

    It counts there as a run of the job `cronguard-test`, unless --job says another.
    """
    from cronguard.reporters import sample  # noqa: PLC0415 - as above
    from cronguard.reporters.contract import Never, NotNow, Told  # noqa: PLC0415
    from cronguard.reporters.lines import Lines  # noqa: PLC0415

    job = job or sample.JOB
    if not is_job_name(job):
        raise click.UsageError(f"{printable(job, 140)!r} is not a job name")
    settings = Settings(_flags(config), os.environ)
    settings.for_job(job)
    namespace = str(settings.value(opt.NAMESPACE) or opt.NAMESPACE.default)
    reporters.of_job([name], "report test", settings.files, job)
    lines = Lines(config[-1] if config else os.environ.get(opt.CONFIG.variable), os.environ)
    line = lines.of(job, [name])[0][name]
    begun = time.monotonic()
    why = remark = ""
    try:
        with redirect_stdout(sys.stderr):  # what a reporter of another package prints
            line.make().tell(sample.report(event, job, namespace, wall_now()), line.timeout)
    except Told as said:
        remark = str(said)
    except (NotNow, Never) as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - another's code
        why = f"{type(error).__name__}: {error}"
    why, remark = (printable(redact.text(one, tuple(lines.secrets)), 500) for one in (why, remark))
    if as_json:
        spent = round((time.monotonic() - begun) * 1000)
        say_json(
            {
                "reporter": name,
                "event": event,
                "told": not why,
                "why": why or remark or None,
                "ms": spent,
            }
        )
    elif why:
        say_error(f"{name}: not told: {why}.", exits.NO)
    else:
        say(f"{name}: told of a {event} of {job}." + (f" {remark}." if remark else ""))
    return exits.NO if why else exits.DONE


def _flags(config: tuple[str, ...]) -> dict[str, list[str]]:
    return {opt.CONFIG.name: list(config)} if config else {}
