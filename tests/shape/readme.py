"""The README, taken apart: its code blocks by kind, in order."""

from __future__ import annotations

from tests.shape import source


class Block:
    """A fenced block: its kind (the word behind the fence) and its lines."""

    __slots__ = ("kind", "lines")

    def __init__(self, kind: str, lines: list[str]) -> None:
        self.kind = kind
        self.lines = lines

    @property
    def text(self) -> str:
        """Return it as one text."""
        return "".join(f"{line}\n" for line in self.lines)


def blocks(kind: str = "") -> list[Block]:
    """Return the fenced blocks of this kind, or all."""
    found: list[Block] = []
    inside: Block | None = None
    for line in source.read("README.md").splitlines():
        if not line.startswith("```"):
            if inside is not None:
                inside.lines.append(line)
        elif inside is None:
            inside = Block(line.removeprefix("```"), [])
        else:
            found.append(inside)
            inside = None
    assert inside is None, "a fence without an end"
    return [block for block in found if kind in ("", block.kind)]


def block(kind: str, having: str = "") -> Block:
    """Return the one block of this kind that contains *having*."""
    (found,) = [block for block in blocks(kind) if having in block.text]
    return found
