"""Headers of the user's own, as reporters that send by HTTP take them."""

from __future__ import annotations

from cronguard.config.values import shown

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_OF_ALL = ("host", "content-length", "content-type", "transfer-encoding", "connection", "expect")


class Headers:
    """What one reporter takes: with these *marks* in names, but not *ours*; *example* of a table.

    Of *ours*, one that ends in `-` stands for all that begin so.
    """

    def __init__(self, example: str, marks: str, *ours: str) -> None:
        self._example = example
        self._marks = marks
        self._letters = frozenset(_LETTERS + marks)
        self._ours = frozenset((*_OF_ALL, *ours))
        self._begins = tuple(one for one in ours if one[-1] == "-")

    def one(self, name: str, value: object) -> str:
        """Return the value of a header. Raises: ValueError, which does not show it."""
        if not name or not self._letters.issuperset(name):
            marks, last = self._marks[:-1], self._marks[-1]
            allowed = f"letters, digits, {' '.join(marks)} and {last}"
            raise ValueError(f"{shown(name)} is no name of a header; it has {allowed}")
        if name.lower() in self._ours or name.lower().startswith(self._begins):
            raise ValueError(f"{name} is set by cronguard itself; leave it out")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name}: it takes one line of ASCII, in quotes")
        return value

    def read(self, value: object) -> dict[str, str]:
        """Return headers by name."""
        if not isinstance(value, dict):
            raise ValueError(f"it takes a table; write {self._example}")  # noqa: TRY004
        return {name: self.one(name, said) for name, said in value.items()}
