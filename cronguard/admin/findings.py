"""What `doctor` finds: one value a check, with what is to be done where it is not all right."""

from __future__ import annotations

OK = "ok"
WARNING = "warning"
FAILED = "failed"
_ORDER = (OK, WARNING, FAILED)


class Finding:
    """One check's result: `text` what holds and why, `todo` what to do, empty where nothing is."""

    __slots__ = ("check", "level", "text", "todo")

    def __init__(self, check: str, level: str, text: str, todo: str = "") -> None:
        self.check = check
        self.level = level
        self.text = text
        self.todo = todo

    @property
    def line(self) -> str:
        """What and what to do, in one."""
        return f"{self.text}; {self.todo}" if self.todo else self.text

    def as_json(self) -> dict[str, object]:
        """Return the same for programs."""
        return {"check": self.check, "level": self.level, "text": self.text, "do": self.todo}


def worst(found: list[Finding]) -> str:
    """Return the worst level of all."""
    return max([finding.level for finding in found], key=_ORDER.index, default=OK)
