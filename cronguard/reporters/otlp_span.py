"""One span of a run's trace, within what OTLP has room for. Pure."""

from __future__ import annotations

from cronguard.core.words import printable
from cronguard.reporters.trace_ids import span_id, trace_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = str | int | list[str]

NAME = 200
"""The longest name."""
LAST_MS = (1 << 63) // 1_000_000
"""No later moment has a number in OTLP, which counts ns."""


class Span:
    """One span: ids as hexadecimal digits, moments in ms since the epoch.

    `error` why it failed, "" if it did not · `events` (moment, name, attributes) · `links` (trace
    id, span id).
    """

    __slots__ = (
        "attributes",
        "ended_at",
        "error",
        "events",
        "links",
        "name",
        "parent_id",
        "span_id",
        "started_at",
        "trace_id",
    )

    def __init__(self, run_id: str, name: str, started_at: int, ended_at: int, which: str) -> None:
        self.trace_id = trace_id(run_id)
        self.span_id = span_id(run_id, which)
        self.parent_id = span_id(run_id) if which else ""
        self.name = printable(name, NAME)
        self.started_at = min(max(started_at, 0), LAST_MS)
        self.ended_at = min(max(ended_at, self.started_at), LAST_MS)
        self.attributes: dict[str, Value] = {}
        self.events: list[tuple[int, str, dict[str, Value]]] = []
        self.links: list[tuple[str, str]] = []
        self.error = ""
