"""Whole lines out of what comes in pieces, in bounded memory. For logs and prefixes."""

from __future__ import annotations

LONGEST = 1 << 16
"""A line that is longer is cut."""


class Lines:
    """One stream. Give it what was said; it gives back what can be passed on."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()  # grows in place: a command may write byte by byte

    def add(self, data: bytes) -> tuple[bytes, bytes]:
        """Take in *data*; return (whole lines with their ends, a piece of one that is too long).

        The piece comes after the lines.
        """
        end = data.rfind(b"\n") + 1
        lines, rest = data[:end], data[end:]
        if end and self._rest:
            lines = b"".join((self._rest, lines))
            self._rest = bytearray()
        if len(self._rest) + len(rest) <= LONGEST:
            self._rest += rest
            return lines, b""
        return lines, self.end() + rest

    def end(self) -> bytes:
        """Return the line that has no end so far, and forget it."""
        rest, self._rest = bytes(self._rest), bytearray()
        return rest
