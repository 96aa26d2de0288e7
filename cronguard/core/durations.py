"""How long the runs of a job take, and the timeout that fits it. Pure: takes records.

Durations are those of runs that succeeded: what was stopped, or failed at once, tells nothing of
how long the work takes.
"""

from __future__ import annotations

from cronguard.core.record import KEPT_RUNS, SUCCEEDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENOUGH_RUNS = 20
"""With fewer successes no timeout is suggested."""
_SECOND = 1000


def numbers(records: Iterable[Mapping[str, object]], field: str) -> list[int]:
    """Return what the records have in *field*, where it is a number that can be."""
    found = (record.get(field) for record in records)
    return [value for value in found if type(value) is int and value >= 0]


def of_successes(runs: list[dict[str, object]]) -> list[int]:
    """Return, in order of length, the ms that the successes took among *runs*, newest first."""
    good = [one for one in runs[:KEPT_RUNS] if one.get("outcome") == SUCCEEDED]
    return sorted(numbers(good, "duration_ms"))


def percentile(ordered: list[int], percent: int) -> int | None:
    """Return the least of the *ordered* values that so many per cent do not exceed."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def fitting_timeout(ordered: list[int]) -> int | None:
    """Return p95 + 50 %, in whole seconds as ms, or None while there are too few successes."""
    p95 = percentile(ordered, 95)
    if p95 is None or len(ordered) < ENOUGH_RUNS:
        return None
    return max(-(-p95 * 3 // (2 * _SECOND)), 1) * _SECOND
