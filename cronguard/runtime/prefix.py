"""`--prefix`: a text before each line of the output, without waiting for the line's end.

A line that two streams write into at a time would have the one in the other. So where they are
told apart and end in one file, each line is passed on when it is whole, or longer than 64 KiB.
"""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.core.logline import STREAMS
from cronguard.runtime.clock import wall_now
from cronguard.runtime.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cronguard.core.spec import JobSpec, Owner

_AT_A_TIME = 1 << 13


def maker(spec: JobSpec, owner: Owner) -> Callable[[int, bool], Prefix]:
    """Return what makes the prefix of a run's stream, with lines passed on whole or not."""
    facts = {"job": spec.name, "run_id": owner.run_id, "host": owner.host}
    return lambda stream, whole: Prefix(spec.prefix, stream, facts, wall_now, whole=whole)


class Prefix:
    """The prefix of one stream. *text* has fields, as values.prefix knows; *clock* gives ms."""

    def __init__(
        self,
        text: str,
        stream: int,
        facts: dict[str, str],
        clock: Callable[[], int],
        *,
        whole: bool,
    ) -> None:
        for name, value in (facts | {"stream": STREAMS[stream]}).items():
            text = text.replace(f"{{{name}}}", value)
        self._text = text
        self._clock = clock
        self._lines = Lines() if whole else None
        self._is_at_start = True

    def put(self, data: bytes) -> Iterator[bytes]:
        """Return *data* with the prefix where lines begin, in pieces: it may be many times as much.

        A piece ends where a line does, or *data*.
        """
        lines, piece = self._lines.add(data) if self._lines is not None else (data, b"")
        at = 0
        while at < len(lines):
            end = lines.find(b"\n", at + _AT_A_TIME) + 1 or len(lines)
            yield self._prefixed(lines[at:end])
            at = end
        if piece:
            yield self._prefixed(piece)

    def end(self) -> bytes:
        """Return what was kept of a line without an end; it gets one, as another may write on."""
        rest = self._lines.end() if self._lines is not None else b""
        return self._prefixed(rest + b"\n") if rest else b""

    def _prefixed(self, data: bytes) -> bytes:
        if not data:
            return b""
        now = self._text.replace("{time}", records.utc(self._clock()))
        prefix = now.encode("utf-8", "surrogateescape")
        head = prefix if self._is_at_start else b""
        self._is_at_start = data.endswith(b"\n")
        body = data[:-1] if self._is_at_start else data
        tail = b"\n" if self._is_at_start else b""
        return head + body.replace(b"\n", b"\n" + prefix) + tail
