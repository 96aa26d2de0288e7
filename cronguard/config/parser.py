"""The light parser of `run`: what it understands it gives back, all else it leaves to click.

click costs 42 ms at start, so it is loaded only to help and to complain (admin/run.py). The two
agree on every argv: where this one returns values, click finds the same; where it returns None,
click finds an error or was asked for help. A test walks through random command lines.
"""

from __future__ import annotations

from cronguard.config.options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.options import Option

SAID = "true"
"""What a switch's presence counts as."""
_FLAGS: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}


class Parsed:
    """What stood on the command line: each option's texts in order, and the command or None."""

    __slots__ = ("command", "flags")

    def __init__(self, flags: dict[str, list[str]], command: list[str] | None) -> None:
        self.flags = flags
        self.command = command


def parse(argv: list[str]) -> Parsed | None:
    """Return what *argv* (after `run`) says, or None when click must speak."""
    flags: dict[str, list[str]] = {}
    at, end = 0, len(argv)
    while at < end:
        word = argv[at]
        at += 1
        if word == "--":
            return Parsed(flags, argv[at:]) if at < end else None
        if word[:2] == "--":
            flag, given, value = word.partition("=")
            option = _FLAGS.get(flag)
        else:
            option, value = _short(word, flags)
            given = value
        if option is None or (given and option.is_switch):
            return None
        if option.is_switch:
            flags[option.name] = [SAID]
            continue
        if not given:
            if option.may_be_bare and (at == end or _is_option(argv[at])):
                flags.setdefault(option.name, []).append(SAID)
                continue
            if at == end:
                return None
            value = argv[at]
            at += 1
        if value == "--":
            return None
        flags.setdefault(option.name, []).append(value)
    return Parsed(flags, None)


def _is_option(word: str) -> bool:
    return word[:1] == "-" and len(word) > 1


def _short(word: str, flags: dict[str, list[str]]) -> tuple[Option | None, str]:
    """Take the switches of `-qqnx`; return the last option, and the value that follows it."""
    option = None
    if word[:1] != "-":
        return None, ""
    for at in range(1, len(word)):
        option = _FLAGS.get("-" + word[at])
        if option is None:
            return None, ""
        if not option.is_switch:
            return option, word[at + 1 :]
        flags[option.name] = [SAID]
    return option, ""
