"""On which line of a TOML text a key stands; tomllib does not tell. For messages only."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*\[\[?(.+?)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^((?:[A-Za-z0-9_.\s-]|"[^"]*"|'[^']*')+?)=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_LONG = re.compile(r'"""|' + "'''")


_DEPTH = 5
"""As deep as anybody asks: a key of a reporter in the section of a job."""


class Lines:
    """Where the keys of one text stand. The text is looked through once, when first asked."""

    __slots__ = ("_found", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[tuple[str, ...], int] | None = None

    def line_of(self, section: tuple[str, ...], key: str) -> int | None:
        """Return the line (from 1) of *key* in *section*, else of the section, else None."""
        if self._found is None:
            self._found = {}
            for number, path in _places(self._text):
                for end in range(1, min(len(path), _DEPTH) + 1):
                    self._found.setdefault(path[:end], number)
        wanted = (*section, key) if key else section
        for end in range(len(wanted), 0, -1):
            if wanted[:end] in self._found:
                return self._found[wanted[:end]]
        return None


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
