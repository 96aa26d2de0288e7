"""JSON that anybody may have written, as facts. What is none is empty, and hides nothing else.

Loaded only where something is to be read: a run that gets its lock writes, and reads nothing.
"""

from __future__ import annotations

from _json import make_scanner  # the C core: `json` costs 7 ms at start


class _Plain:
    """What the scanner asks for: JSON as it is."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012  the scanner clears it after each document


_scan = make_scanner(_Plain())  # type: ignore[arg-type]


def decode(text: str) -> dict[str, object]:
    """Return the JSON object in *text*; what is none is empty: facts are for people."""
    try:
        found, _ = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return {}
    except SystemError:  # the scanner's error is a class of `json`, which is not loaded
        return {}
    return found if isinstance(found, dict) else {}


def readable(stored: object) -> dict[str, object]:
    """Return the record that is *stored*; empty for what is none, which is to hide no other."""
    if isinstance(stored, bytes):
        stored = stored.decode("utf-8", "replace")
    return decode(stored) if isinstance(stored, str) else {}
