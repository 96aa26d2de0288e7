"""On which line of a TOML text a key stands; tomllib does not tell. For messages only."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*\[\[?\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_LONG = re.compile(r'"""|' + "'''")


def line_of(text: str, section: tuple[str, ...], key: str) -> int | None:
    """Return the line (from 1) of *key* in *section*, else of the section, else None."""
    wanted = (*section, key) if key else section
    here: tuple[str, ...] = ()
    nearest: int | None = None
    longest = 0
    for number, path in _places(text):
        here = path
        common = _common(here, wanted)
        if common == len(wanted):
            return number
        if common > longest:
            nearest, longest = number, common
    return nearest


def _places(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Return (line, full path) of every header and key; texts over several lines are left out."""
    places = []
    table: tuple[str, ...] = ()
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            if header := _HEADER.match(line):
                table = _parts(header[1])
                places.append((number, table))
            elif key := _KEY.match(line):
                places.append((number, table + _parts(key[1])))
        for quote in _LONG.findall(line):
            inside = quote if not inside else "" if inside == quote else inside
    return places


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))


def _common(path: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    count = 0
    for one, other in zip(path, wanted, strict=False):
        if one != other:
            break
        count += 1
    return count
