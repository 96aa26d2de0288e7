r"""Puts the guard in front of a crontab's lines, and takes it off again. Pure.

    */5 * * * *  cronguard run --name=pull -- /opt/pull --all # wrapped
    0 3 * * *    cronguard run --name=dump --shell 'dump | gzip > "/srv/$(date +\\%F)"' # wrapped

The comment at the end tells lines that were wrapped from those that people wrote. A command that is
nothing but words needs no shell; any other is given, quoted, to the shell that cron would have
used. What cron does itself stays as it is: backslashes before % are within the quotes, as cron does
not look at quotes, and a bare % with the standard input behind it comes after the closing one.
`unwrap` gives back what stood there, byte for byte, also with options added by hand meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cronguard.admin.crontab_lines import SHELL, Entry, read
from cronguard.admin.crontab_seen import guard_of
from cronguard.core.spec import is_job_name

MARK = " # wrapped"
LONGEST = 998
"""Debian's cron cuts a command at its 999th byte, and runs what is left."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@+-](?:[A-Za-z0-9_./:,@+=\t -]|\\%)*", re.ASCII)
_WRAPPED = re.compile(
    r"(?P<program>\S*cronguard) run (?P<options>(?:(?!--(?:shell)? )\S+ )*)(?P<how>--|--shell) "
    r"(?P<rest>.*) # wrapped",
    re.DOTALL,
)
_BY_SHELL = re.compile(r"(\S+) -c ('.*')", re.DOTALL)
_SHELLS = {"sh", "bash", "dash", "ksh", "mksh", "zsh", "ash"}
_OF_THE_SHELL = frozenset((
    ".", ":", "[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue",
    "declare", "echo", "eval", "exec", "exit", "export", "fc", "fg", "for", "function", "getopts",
    "hash", "if", "jobs", "kill", "let", "local", "logout", "popd", "printf", "pushd", "pwd",
    "read", "readonly", "return", "select", "set", "shift", "shopt", "source", "suspend", "test",
    "time", "times", "trap", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until",
    "wait", "while",
))  # fmt: skip
"""What only a shell can do."""
_INTERPRETERS = re.compile(r"(?:python|perl|ruby|node|php|bash|sh|dash|run-parts)[0-9.]*")
_SKIPPED = {"exec", "sudo", "nice", "ionice", "env", "nohup", "time", "flock", "chronic", "timeout"}
_TESTS = {"cd", "test", "[", "[[", ".", "source", "umask", "export", "set", "sleep"}


@dataclass
class Change:
    """What became of a crontab.

    `text` is the new one · `done` the names of the lines wrapped or unwrapped, by number · `left`
    why others were not.
    """

    text: str
    done: dict[int, str] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)


def wrap(
    text: str, *, has_user: bool, program: str = "cronguard", options: tuple[str, ...] = ()
) -> Change:
    """Guard each job's line that is not guarded; *options* are flags for each."""
    entries = read(text, has_user=has_user)
    taken = {guard.name for entry in entries if (guard := guard_of(entry)) and guard.name}
    change = Change("")
    for entry in entries:
        why = _obstacle(entry)
        if entry.kind == "job" and not why:
            name = name_for(entry.seen, taken)
            wrapped = _wrapped(entry, [program, "run", f"--name={name}", *options])
            if len(wrapped.encode("utf-8", "surrogateescape")) <= LONGEST:
                entry.command = wrapped
                change.done[entry.number] = name
                taken.add(name)
            else:
                why = f"it would be longer than the {LONGEST} bytes that cron allows; use a script"
        if why:
            change.left[entry.number] = why
    change.text = "".join(entry.text for entry in entries)
    return change


def unwrap(text: str, *, has_user: bool) -> Change:
    """Take the guard off each line that was wrapped."""
    entries = read(text, has_user=has_user)
    change = Change("")
    for entry in entries:
        inner = inside(entry.command) if entry.kind == "job" else None
        if inner is not None:
            guard = guard_of(entry)
            change.done[entry.number] = guard.name if guard else ""
            entry.command = inner
    change.text = "".join(entry.text for entry in entries)
    return change


def inside(command: str) -> str | None:
    """Return the command that was wrapped, or None if this one was not."""
    found = _WRAPPED.fullmatch(command)
    if not found:
        return None
    rest = found["rest"]
    if found["how"] == "--shell":
        return _unquoted(rest)
    if _is_plain(rest):
        return rest
    by_shell = _BY_SHELL.fullmatch(rest)
    return _unquoted(by_shell[2]) if by_shell else None


def _obstacle(entry: Entry) -> str:
    """Say why a line is better left alone; nothing if it can be wrapped, or is no job."""
    if entry.kind == "unknown":
        return "cron cannot read this line; see `cronguard crontab lint`"
    if entry.kind != "job":
        return ""
    guard = guard_of(entry)
    if guard is not None:
        return "it is guarded already"
    if not entry.command.strip():
        return "there is no command before the %"
    if "\0" in entry.command:
        return "it holds a NUL character"
    if entry.command[0] == "#":
        return "it is a comment to the shell, and does nothing"
    if entry.command.endswith("\\"):
        return "it ends with a backslash, which would escape what comes after it"
    if entry.shell.rpartition("/")[2] not in _SHELLS:
        return f"SHELL is {entry.shell}, whose quotes are not known here"
    return ""


def _wrapped(entry: Entry, guard: list[str]) -> str:
    command, shell = entry.command, entry.shell
    if _is_plain(command):
        return " ".join([*guard, "--", command]) + MARK
    quoted = "'" + command.replace("'", "'\"'\"'") + "'"
    how = ["--shell"] if shell == SHELL else ["--", shell, "-c"]
    return " ".join([*guard, *how, quoted]) + MARK


def _is_plain(command: str) -> bool:
    """Tell whether a shell would make of it just the words that one sees, and start the first."""
    if not _PLAIN.fullmatch(command):
        return False
    first = command.split(None, 1)[0]
    return "=" not in first and "%" not in first and first not in _OF_THE_SHELL


def _unquoted(text: str) -> str | None:
    if len(text) < 2 or text[0] != "'" or text[-1] != "'":
        return None
    inner = text[1:-1].replace("'\"'\"'", "\0")
    return None if "'" in inner else inner.replace("\0", "'")


def name_for(command: str, taken: set[str]) -> str:
    """Return a name from the command, which is not *taken*."""
    stem = _stem(command)
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem[:120]}-{count}"
    return name


def _stem(command: str) -> str:
    """Return the name of the program or script that does the work, as a job's name."""
    for part in re.split(r"&&|\|\||[;|\n]", command):
        words = part.strip(" \t\r({!").split()
        while words and (
            "=" in words[0] or words[0].rpartition("/")[2] in _SKIPPED or words[0][0] == "-"
        ):
            words = words[1:]
        if not words or words[0] in _TESTS:
            continue
        base = _base(words[0])
        if _INTERPRETERS.fullmatch(base):
            module = words[words.index("-m") + 1 :] if "-m" in words else []
            scripts = module or [word for word in words[1:] if word[0] != "-"]
            base = _base(scripts[0]) if scripts else base
        if base:
            return base
    return "job"


def _base(word: str) -> str:
    base = word.strip("'\"").rstrip("/").rpartition("/")[2]
    base = re.sub(r"\.(?:sh|py|pl|rb|php|js)$", "", base)
    name = "".join(c if is_job_name("x" + c) else "-" for c in base)[:100].strip("-._:")
    return name if is_job_name(name) else ""
