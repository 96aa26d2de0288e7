"""`cronguard crontab`: show, guard, unguard and check the lines of crontabs."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from difflib import unified_diff
from functools import partial
from typing import TypeVar

import click

from cronguard.admin import crontab_files as files
from cronguard.admin import crontab_lint as lint_rules
from cronguard.admin import crontab_times as times
from cronguard.admin import crontab_wrap as wrapping
from cronguard.admin.crontab_lines import Entry, decode, encode, read
from cronguard.admin.crontab_rules import add_rules, flags_of, rules_of
from cronguard.admin.crontab_seen import Guard, guard_of
from cronguard.admin.groups import Group
from cronguard.admin.output import say, say_error, say_json, say_table
from cronguard.config import options as opt
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.core import exits
from cronguard.core.words import printable

T = TypeVar("T")
_DEFAULT_PATH = "/usr/bin:/bin"
_COLUMNS = ["WHERE", "SCHEDULE", "USER", "NAME", "GUARDED", "NEXT", "COMMAND"]
_SAFE = re.compile(r"[A-Za-z0-9_./+-]+", re.ASCII)


def which(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command the arguments that say which crontabs."""
    column = click.option(
        "--user-column/--no-user-column",
        "has_user",
        default=None,
        help="Whether a user stands before each command. "
        "Default: only in /etc/crontab and /etc/cron.d.",
    )
    user = click.option("--user", default="", metavar="USER", help="The crontab of this user.")
    paths = click.argument("paths", nargs=-1, metavar="[FILE]...", type=click.Path())
    return paths(user(column(function)))


@click.group(cls=Group, no_args_is_help=True)
def command() -> None:
    """Show, guard and check the lines of crontabs."""


@command.command(
    "list", short_help="Show each job's line: when it is due, and whether it is guarded."
)
@which
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def list_lines(*, paths: tuple[str, ...], user: str, has_user: bool | None, as_json: bool) -> int:
    """Show each job's line. With no FILE: your own crontab, /etc/crontab and /etc/cron.d."""
    found = [
        _facts(table, entry)
        for table, _, entries in _read(_asked(paths, user, has_user))
        for entry in entries
        if entry.kind == "job"
    ]
    if as_json:
        say_json(found)
        return exits.DONE
    rows = [
        [
            printable(f"{fact['file']}:{fact['line']}", 80),
            printable(" ".join(str(fact["schedule"]).split()), 60),
            printable(fact["user"] or "-", 32),
            printable(fact["name"] or "-", 140),
            printable(fact["guarded_by"] or "-"),
            str(fact["next_at"] or "-")[:16].replace("T", " "),
            printable(fact["command"], 80),
        ]
        for fact in found
    ]
    say_table(_COLUMNS, rows, "No job's line in these crontabs.")
    return exits.DONE


@command.command(short_help="Find what is wrong in crontabs.")
@which
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def lint(*, paths: tuple[str, ...], user: str, has_user: bool | None, as_json: bool) -> int:
    """Find what is wrong, with file and line; status 1 if so. Without FILE as `list` does."""
    tables = [
        (t.label, t.has_user, entries) for t, _, entries in _read(_asked(paths, user, has_user))
    ]
    found = lint_rules.findings(tables, _host())
    if as_json:
        keys = ("file", "line", "problem", "remedy")
        say_json([{key: getattr(finding, key) for key in keys} for finding in found])
    for one in [] if as_json else found:
        say(printable(f"{one.file}:{one.line}: {one.problem}; {one.remedy}", 2000))
    if not found and not as_json:
        say("Nothing is wrong (" + ", ".join(printable(label) for label, _, _ in tables) + ").")
    return exits.NO if found else exits.DONE


@command.command(short_help="Put `cronguard run` in front of each job's command.")
@which
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference, and change nothing.")
@click.option(
    "--option", "given", multiple=True, metavar="KEY=VALUE",
    help="An option of `run` for each line, such as timeout=10m. Repeatable.",
)  # fmt: skip
@click.option("--rules", metavar="FILE", help="Write the options to sections of this TOML file.")
def wrap(
    *, paths: tuple[str, ...], user: str, has_user: bool | None, yes: bool, dry_run: bool,
    given: tuple[str, ...], rules: str | None,
) -> int:  # fmt: skip
    """Put `cronguard run` in front of each job's command that is not guarded.

    Shows the difference, asks, and keeps a backup. `cronguard crontab unwrap` undoes it. With no
    FILE: your own crontab. With --rules, options go into [jobs.NAME] of that file, not on the line.
    """
    flags = flags_of(given)
    for table in files.tables(paths, user, has_user):
        raw = table.read()
        text = decode(raw)
        entries = read(text, has_user=table.has_user)
        program = _program(entries)
        on_line = () if rules else tuple(flags)
        change = wrapping.wrap(text, has_user=table.has_user, program=program, options=on_line)
        for number, why in change.left.items():
            say(printable(f"{table.label}:{number}: left as it is: {why}", 500))
        said = rules_of(change.done, entries, given) if rules else {}
        before = partial(add_rules, str(rules), said) if said else _nothing
        status = _carry_out(table, raw, change, yes=yes, dry_run=dry_run, before=before)
        if status:
            return status
    return exits.DONE


@command.command(short_help="Take off what `wrap` has put in front.")
@which
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference, and change nothing.")
def unwrap(
    *, paths: tuple[str, ...], user: str, has_user: bool | None, yes: bool, dry_run: bool
) -> int:
    """Take off what `wrap` has put in front, to the byte. Lines that you guarded yourself stay."""
    for table in files.tables(paths, user, has_user):
        raw = table.read()
        change = wrapping.unwrap(decode(raw), has_user=table.has_user)
        status = _carry_out(table, raw, change, yes=yes, dry_run=dry_run, before=_nothing)
        if status:
            return status
    return exits.DONE


def _nothing() -> None:
    """Do nothing before the crontab is replaced."""


def _carry_out(
    table: files.Table, raw: bytes, change: wrapping.Change, *, yes: bool, dry_run: bool,
    before: Callable[[], None],
) -> int:  # fmt: skip
    """Show the difference, ask, keep a backup, and replace the crontab."""
    new = encode(change.text)
    if new == raw:
        say(f"{printable(table.label)}: nothing to change.")
        return exits.DONE
    say(_difference(table.label, decode(raw), change.text))
    if dry_run:
        return exits.DONE
    if not yes:
        if not sys.stdin.isatty():
            text = f"{printable(table.label)}: not changed: there is nobody to ask; use --yes"
            return say_error(text, exits.USAGE)
        if not click.confirm(f"Change {printable(table.label)}?"):
            return exits.NO
    if table.read() != raw:
        text = f"{printable(table.label)}: not changed: somebody else has changed it; try again"
        return say_error(text, exits.NO)
    backup = table.keep(raw)
    before()
    table.write(new)
    say(f"Changed {len(change.done)} lines of {printable(table.label)}; it was kept as {backup}.")
    return exits.DONE


def _difference(label: str, old: str, new: str) -> str:
    """Return a unified diff, with nothing in it that a terminal obeys."""
    lines = unified_diff(old.split("\n"), new.split("\n"), label, f"{label} (new)", lineterm="")
    return "\n".join(
        "\t".join(printable(part, 1 << 20) for part in line.split("\t")) for line in lines
    )


def _asked(paths: tuple[str, ...], user: str, has_user: bool | None) -> list[files.Table]:
    return files.tables(paths, user, has_user) if paths or user else files.everywhere()


def _read(tables: list[files.Table]) -> list[tuple[files.Table, bytes, list[Entry]]]:
    found = []
    for table in tables:
        raw = table.read()
        found.append((table, raw, read(decode(raw), has_user=table.has_user)))
    return found


def _facts(table: files.Table, entry: Entry) -> dict[str, object]:
    """Return what is known of a job's line."""
    guard = guard_of(entry)
    try:
        now = datetime.now(times.zone(entry.settings.get("CRON_TZ", "")))
        due = times.next_due(entry.schedule, now)
    except times.Impossible:
        due = None
    return {
        "file": table.label,
        "line": entry.number,
        "schedule": entry.schedule,
        "user": entry.user or table.user or pwd.getpwuid(os.geteuid()).pw_name,
        "name": (guard.name or None) if guard else None,
        "guarded": guard is not None and not guard.problem,
        "guarded_by": guard.by if guard else None,
        "next_at": due.isoformat() if due else None,
        "command": decode(encode(entry.command + entry.stdin)),
    }


def _program(entries: list[Entry]) -> str:
    """Return how cron finds the command `cronguard`: its name, or its whole path."""
    path = next(
        (e.settings["PATH"] for e in reversed(entries) if "PATH" in e.settings), _DEFAULT_PATH
    )
    if shutil.which("cronguard", path=path):
        return "cronguard"
    here = os.path.join(os.path.dirname(sys.executable), "cronguard")
    found = here if os.access(here, os.X_OK) else shutil.which("cronguard")
    if not found or not _SAFE.fullmatch(found):
        raise ConfigError(
            f"cron would not find cronguard in its PATH {printable(path)}; set PATH at the top of "
            "the crontab"
        )
    return os.path.abspath(found)


def _host() -> lint_rules.Host:
    def is_user(name: str) -> bool:
        try:
            pwd.getpwnam(name)
        except (KeyError, ValueError):
            return False
        return True

    return lint_rules.Host(
        now=datetime.now(times.zone()),
        is_user=is_user,
        is_program=lambda word: shutil.which(word) is not None,
        timeout_ms=_timeout_ms,
    )


def _timeout_ms(guard: Guard, environ: dict[str, str]) -> int | None:
    """Return the timeout of a guarded line as `run` would find it, or None."""
    home = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
    try:
        settings = Settings(guard.flags, home | environ)
        settings.for_job(guard.name)
        value = settings.value(opt.TIMEOUT)
    except ConfigError:
        return None
    return value if isinstance(value, int) else None
