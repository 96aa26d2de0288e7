"""What is wrong in crontabs, one finding a line. Pure: Host says what only this host knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cronguard.admin import crontab_times as times
from cronguard.admin.crontab_lines import Entry
from cronguard.admin.crontab_seen import Guard, guard_of
from cronguard.admin.crontab_wrap import LONGEST
from cronguard.config import comment
from cronguard.config.comment import MARK
from cronguard.config.options import OPTIONS, ConfigError
from cronguard.config.values import duration_text
from cronguard.core.words import printable

_DURATIONS = [
    option for option in OPTIONS if option.metavar.lstrip("[").startswith(("DUR", "PERIOD"))
]


@dataclass(frozen=True)
class Finding:
    """What is wrong on a line, and what to do about it."""

    file: str
    line: int
    problem: str
    remedy: str


@dataclass(frozen=True)
class Host:
    """What only the host knows. `timeout_ms` of a guard in the settings of its crontab, or None."""

    now: datetime
    is_user: Callable[[str], bool]
    is_program: Callable[[str], bool]
    timeout_ms: Callable[[Guard, dict[str, str]], int | None]


def findings(tables: list[tuple[str, bool, list[Entry]]], host: Host) -> list[Finding]:
    """Return what is wrong in (label, has a user column, lines) of each crontab."""
    found: list[Finding] = []
    names: dict[str, str] = {}
    for label, has_user, entries in tables:
        for entry in entries:
            said = [*_line(entry, has_user, host), *_guard(entry, host)]
            guard = guard_of(entry)
            if guard and guard.name:
                where = f"{label}:{entry.number}"
                if guard.name in names:
                    other = f"the job {guard.name} is that of {names[guard.name]}, too"
                    said.append(
                        (
                            f"{other}: while one runs the other is skipped",
                            "give it a name of its own",
                        )
                    )
                names.setdefault(guard.name, where)
            found += [Finding(label, entry.number, what, remedy) for what, remedy in said]
        if entries and not entries[-1].ending:
            what = "the last line has no newline at its end, and cron ignores it or the whole file"
            found.append(Finding(label, entries[-1].number, what, "add one"))
    return found


def _line(entry: Entry, has_user: bool, host: Host) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the line itself."""
    if entry.text.endswith("\r\n"):
        yield (
            "the line ends with a carriage return, which cron takes for a part of it",
            "remove it (dos2unix)",
        )
    if entry.kind == "unknown":
        user = ", a user" if has_user else ""
        yield (
            "this is no comment, assignment or job",
            f"write five fields (or @daily){user} and a command",
        )
    if entry.kind != "job":
        return
    try:
        times.next_due(entry.schedule, host.now)
    except times.Impossible as error:
        yield str(error), "correct it"
    if MARK in entry.stdin:
        yield f"`{MARK}` stands behind a %, where it is standard input", "move it before the %"
    elif entry.stdin:
        yield (
            "cron ends the command at the % and gives it the rest as standard input",
            "write \\% if the character is meant",
        )
    if len((entry.command + entry.stdin).encode("utf-8", "surrogateescape")) > LONGEST:
        yield (
            f"the command is longer than {LONGEST} bytes, and Debian's cron cuts it",
            "put it in a script",
        )
    first, _, rest = entry.command.strip().partition(" ")
    if has_user and not host.is_user(entry.user):
        yield (
            f"there is no user {printable(entry.user, 60)} here",
            "put the user before the command",
        )
    if not has_user and rest and host.is_user(first) and not host.is_program(first):
        what = f"{printable(first, 60)} is a user, and no command"
        yield f"{what}: only /etc/crontab and /etc/cron.d have a column for users", "remove it"


def _guard(entry: Entry, host: Host) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the guard of the line."""
    guard = guard_of(entry)
    if guard is None:
        if entry.kind == "job" and MARK in entry.command and not _is_quoted(entry):
            what = f"`{MARK}` has no effect here: SHELL is {printable(entry.shell, 60)}"
            yield what, "set SHELL to the path of cronguard-sh above it"
        return
    if guard.problem:
        yield printable(guard.problem, 300), "correct it; see `cronguard run --help`"
        return
    for option in _DURATIONS:
        for text in guard.flags.get(option.name, []):
            if text.strip("0.") and not text.strip("0123456789."):
                yield (
                    f"{option.flags[-1]} {text} has no unit, and means seconds",
                    f"write {text}s, or {text}m",
                )
    try:
        limit, period = (
            host.timeout_ms(guard, entry.settings),
            times.period_s(entry.schedule, host.now),
        )
    except times.Impossible:
        return
    if limit and period and limit > period * 1000:
        every = duration_text(period * 1000)
        yield (
            f"the timeout of {duration_text(limit)} is longer than the {every} between two runs",
            f"set it to less than {every}, or start it less often",
        )


def _is_quoted(entry: Entry) -> bool:
    """Tell whether the mark is data of the command: `grep '# cronguard:'`."""
    try:
        return comment.read(entry.seen).bare == entry.seen
    except ConfigError:
        return False
