"""Finds all that is wrong in the files and the environment, not only what stops one job."""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches

from cronguard.config import options as opt
from cronguard.config.options import ConfigError
from cronguard.config.reporters import of_job
from cronguard.config.resolve import Settings, refuse_two_rules
from cronguard.config.store import has_password
from cronguard.core.lease import ttl_problem
from cronguard.stores.address import parse_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cronguard.config.files import Files

Problem = tuple[str, str]
_FOR_THE_CHILD = ("JOB", "RUN_ID", "TOKEN", "DEADLINE", "SLOT", "ATTEMPT")
_VARIABLES = {option.variable for option in opt.OPTIONS} | {
    "CRONGUARD_STATE_DIR",
    "CRONGUARD_SHELL",
}
_KNOWN = _VARIABLES | {"CRONGUARD_" + name for name in _FOR_THE_CHILD}


def check(
    flags: dict[str, list[str]], environ: Mapping[str, str]
) -> tuple[list[str], list[Problem]]:
    """Return the files that were read, and (where, what) of each problem."""
    problems = _variables(environ)
    settings = Settings(flags, environ)
    files = settings.files
    if files is not None:
        problems += [(problem.where, problem.text) for problem in files.problems]
        problems += _readable_passwords(files)
        problems += _reporters(files)
    wrong = {problem.job for problem in files.problems} if files is not None else set()
    jobs = ["", *files.jobs] if files is not None else [""]
    for job in jobs:
        if None not in wrong and job not in wrong:
            problems += _together(settings, job)
    return (files.read if files is not None else []), list(dict.fromkeys(problems))


def _reporters(files: Files) -> list[Problem]:
    """Find what is wrong in sections of reporters, and in those that jobs change."""
    pairs = [("", name) for name in files.reporters]
    pairs += [(job, name) for job, changed in files.job_reporters.items() for name in changed]
    for job, table in (("", files.defaults), *files.jobs.items()):
        text, _ = table.get(opt.REPORT.name, ("", ""))
        pairs += [(job, name) for name in text.split() if name != opt.REPORT.default]
    found: list[Problem] = []
    for job, name in pairs:
        _, source = files.find(job, opt.REPORT.name) or ("", "")
        try:
            kind = of_job([name], source, files, job)[name].kind
        except ConfigError as error:
            where, _, text = str(error).partition(": ")
            found.append((where, text))
            continue
        lacks = kind.lacks() if kind is not None else ""
        if lacks:
            found.append((f"reporter {name}", lacks))
    return found


def _variables(environ: Mapping[str, str]) -> list[Problem]:
    """Find variables that nobody reads, or that hold nonsense."""
    found: list[Problem] = []
    for name in sorted(environ):
        if name.startswith("CRONGUARD_") and name not in _KNOWN:
            near = get_close_matches(name, _VARIABLES, 1)
            hint = f"; did you mean {near[0]}?" if near else "; it has no effect"
            found.append((name, f"is no variable of cronguard{hint}"))
    for option in opt.OPTIONS:
        text = environ.get(option.variable, "") if option.variable else ""
        try:
            if text:
                option.read(text)
        except ValueError as error:
            found.append((option.variable, str(error)))
    return found


def _together(settings: Settings, job: str) -> list[Problem]:
    """Find what is wrong only when everything said about *job* is put together."""
    found: list[Problem] = []
    settings.job = job
    try:
        refuse_two_rules(settings)
    except ConfigError as error:
        where, _, text = str(error).partition(": ")
        found.append((where, text))
    try:
        url = settings.store()
        if not url.startswith("sqlite:"):
            found += _address(url, settings.sources["store"])
        ttl = settings.value(opt.TTL)
        problem = ttl_problem(ttl) if isinstance(ttl, int) else None
        if problem:
            found.append((settings.sources["ttl"], problem))
    except ConfigError as error:
        where, mark, text = str(error).partition(": ")
        found.append((where, text) if mark else ("store", where))
    return found


def _address(url: str, source: str) -> list[Problem]:
    try:
        parse_all(url)
    except ValueError as error:
        return [(source, str(error))]
    return []


def _readable_passwords(files: Files) -> list[Problem]:
    """Find passwords that stand in files which everybody on the host can read."""
    found: list[Problem] = []
    for table in (files.defaults, *files.jobs.values()):
        url, source = table.get("store", ("", ""))
        path = source.partition(" [")[0].rpartition(":")[0]
        if not has_password(url) or not path:
            continue
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue
        if mode & stat.S_IROTH:
            text = f"holds a password that everybody here can read (mode {mode:04o})"
            found.append((source, f"{text}; do `chmod o-r {path}`, or use password_file"))
    return found
