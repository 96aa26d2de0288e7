"""The lines of a crontab, each with its parts. Pure, and exact to the byte.

Bytes that are no UTF-8 are kept as surrogates, and lines end at newlines alone, so what is put
together again is what was read. The rules are those of Debian's cron (crontab(5)): a line is a
comment, an assignment, or a schedule, in system tables a user, and a command; the command ends at
the first % that no backslash escapes, and what follows is its standard input. A carriage return is
to cron a part of the command, and so it is here.

Not python-crontab: it is under the LGPL, formats lines anew and decodes as UTF-8 or fails, so what
it has changed cannot be undone byte for byte.
"""

from __future__ import annotations

import re

_ASSIGNMENT = re.compile(r"""[ \t]*("[^"]*"|'[^']*'|[^\s="'#]+)[ \t]*=[ \t]*(.*)""", re.DOTALL)
_SCHEDULE = re.compile(
    r"[ \t]*(@[A-Za-z_]+|-?[0-9*][^ \t]*(?:[ \t]+[0-9A-Za-z*][^ \t]*){4})[ \t]+(?=\S)"
)
_USER = re.compile(r"([^ \t]+)[ \t]+(?=\S)")
_STDIN = re.compile(r"(?:[^\\%]|\\.|\\$)*", re.DOTALL)
SHELL = "/bin/sh"


class Entry:
    """One line. `kind` is `job`, `assignment`, `comment` (or blank), or `unknown`.

    `head` everything before the command, `command` up to its end or the first bare %, `stdin` that
    % and what follows, `ending` the newline or nothing. `settings` are the assignments above it.
    Without a command the whole line is in `head`.
    """

    __slots__ = (
        "command",
        "ending",
        "head",
        "kind",
        "number",
        "schedule",
        "settings",
        "stdin",
        "user",
    )

    def __init__(self, number: int, head: str, ending: str, settings: dict[str, str]) -> None:
        self.number = number
        self.head = head
        self.ending = ending
        self.settings = settings
        self.kind = "comment"
        self.schedule = self.user = self.command = self.stdin = ""

    @property
    def text(self) -> str:
        """Return the line as it stands in the file."""
        return self.head + self.command + self.stdin + self.ending

    @property
    def seen(self) -> str:
        """Return the command as the shell gets it: without the backslashes that cron takes off."""
        return re.sub(r"\\([%\\])", r"\1", self.command)

    @property
    def shell(self) -> str:
        """Return the shell that cron gives the command to."""
        return self.settings.get("SHELL") or SHELL


def decode(raw: bytes) -> str:
    """Return the text of a crontab, from which `encode` makes the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of a crontab."""
    return text.encode("utf-8", "surrogateescape")


def read(text: str, *, has_user: bool) -> list[Entry]:
    """Return the lines; *has_user* is whether a user stands before each command."""
    entries = []
    settings: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = _entry(number, line, dict(settings), has_user)
        entry.ending = "\n"
        entries.append(entry)
        if entry.kind == "assignment":
            name, value = assigned(line)
            settings[name] = value
    entries[-1].ending = ""
    return entries if entries[-1].head or entries[-1].command else entries[:-1]


def assigned(line: str) -> tuple[str, str]:
    """Return (name, value) of an assignment."""
    found = _ASSIGNMENT.match(line)
    assert found, "only asked of assignments"
    value = found[2].strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return found[1].strip("'\""), value


def _entry(number: int, line: str, settings: dict[str, str], has_user: bool) -> Entry:
    entry = Entry(number, line, "", settings)
    if not line.strip() or line.lstrip(" \t")[:1] == "#":
        return entry
    if _ASSIGNMENT.match(line):
        entry.kind = "assignment"
        return entry
    entry.kind = "unknown"
    found = _SCHEDULE.match(line)
    if not found:
        return entry
    end = found.end()
    if has_user:
        user = _USER.match(line, end)
        if not user:
            return entry
        entry.user, end = user[1], user.end()
    entry.kind = "job"
    entry.schedule, entry.head = found[1], line[:end]
    middle = _STDIN.match(line, end)
    assert middle, "it matches nothing at least"
    entry.command, entry.stdin = line[end : middle.end()], line[middle.end() :]
    return entry
