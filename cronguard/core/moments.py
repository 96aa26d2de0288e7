"""The moments of records, as numbers."""

from __future__ import annotations

from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_ms(moment: object) -> int | None:
    """Return a record's moment (`2026-01-31T23:59:59.123Z`) in ms since the epoch, or None."""
    if not isinstance(moment, str):
        return None
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    gone = when - _EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1000 + gone.microseconds // 1000
