"""Who guards a crontab's line, under which name and with which options. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from cronguard.config import comment
from cronguard.config.options import OPTIONS, ConfigError
from cronguard.config.parser import parse
from cronguard.config.resolve import default_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.admin.crontab_lines import Entry

BY_RUN, BY_SHELL = "run", "shell"
_CONTROL = set(";&|()")
_REDIRECTION = set("<>&|")


@dataclass
class Guard:
    """What guards a line.

    `by` is `run` (the line has it) or `shell` (cronguard-sh is the crontab's) · `argv` what `run`
    is given · `flags` what that says · `problem` why it is refused, if it is.
    """

    by: str
    argv: list[str] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)
    name: str = ""
    problem: str = ""


def guard_of(entry: Entry) -> Guard | None:
    """Return what guards the line, or None if nothing does."""
    if entry.kind != "job":
        return None
    argv = run_argv(entry.seen)
    if argv is not None:
        return _by_run(argv)
    if entry.shell.rpartition("/")[2] != "cronguard-sh":
        return None
    try:
        line = comment.read(entry.seen)
    except ConfigError as error:
        return Guard(BY_SHELL, problem=str(error))
    guard = _known(Guard(BY_SHELL, [*line.options, "--", "/bin/sh", "-c", line.bare]))
    guard.name = guard.name or entry.settings.get("CRONGUARD_NAME", "")
    guard.name = guard.name or (default_name(["/bin/sh", "-c", line.bare]) if line.bare else "")
    return guard


def _by_run(argv: list[str]) -> Guard:
    guard = _known(Guard(BY_RUN, argv))
    if not guard.name and not guard.problem:
        parsed = parse(argv)
        text = guard.flags.get("shell")
        command = ["/bin/sh", "-c", text[-1]] if text else parsed.command if parsed else None
        guard.name = default_name(command) if command else ""
    return guard


def _known(guard: Guard) -> Guard:
    """Fill in what the options say, or what is wrong with them."""
    parsed = parse(guard.argv)
    if parsed is None:
        if not {"-h", "--help"} & set(guard.argv):
            guard.problem = _complaint(guard.argv)
        return guard
    guard.flags = parsed.flags
    guard.name = (parsed.flags.get("name") or [""])[-1]
    for option in OPTIONS:
        for text in parsed.flags.get(option.name, []):
            try:
                option.read(text)
            except ValueError as error:
                guard.problem = f"{option.flags[-1]}: {error}"
    return guard


def _complaint(argv: list[str]) -> str:
    """Return what click has to say of the command line."""
    import click  # noqa: PLC0415 - so that this module loads as fast as it can

    from cronguard.admin.run import command  # noqa: PLC0415

    try:
        command.main(list(argv), prog_name="cronguard run", standalone_mode=False)
    except click.UsageError as error:
        return error.format_message().rstrip(".")
    return "its options cannot be read"


def run_argv(text: str) -> list[str] | None:
    """Return what follows `cronguard run` in the first simple command that is one, or None."""
    for words in simple_commands(text):
        at = 0
        while at < len(words) and ("=" in words[at].partition("/")[0] or words[at] == "exec"):
            at += 1
        if words[at + 1 : at + 2] == ["run"] and words[at].rpartition("/")[2] == "cronguard":
            return words[at + 2 :]
    return None


def simple_commands(text: str) -> list[list[str]]:
    """Return the words of each simple command, without redirections; nothing if quotes are odd."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:
        return []
    commands: list[list[str]] = [[]]
    is_target = False
    for token in tokens:
        marks = set(token)
        if is_target:
            is_target = False
        elif marks <= _REDIRECTION and marks & {"<", ">"}:
            is_target = True
            if commands[-1][-1:] and commands[-1][-1].isdigit():
                commands[-1].pop()
        elif token and marks <= _CONTROL:
            commands.append([])
        else:
            commands[-1].append(token)
    return commands
