"""How long the runs of a job take, and the timeout that fits it. Pure: takes records.

Durations are those of runs that succeeded: what was stopped, or failed at once, tells nothing of
how long the work takes.
"""

from __future__ import annotations

from cronguard.core.record import KEPT_RUNS, SUCCEEDED
from cronguard.core.words import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENOUGH_RUNS = 20
"""With fewer successes no timeout is suggested."""
_SECOND = 1000
_WORTH_A_WORD_MS = 5_000
"""On a busy host, a command of milliseconds takes three times as long now and then."""


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


def usual(runs: list[dict[str, object]]) -> tuple[int, int] | None:
    """Return p5 and p95 of what the successes took, in ms; None while there are too few."""
    lengths = of_successes(runs)
    p5, p95 = percentile(lengths, 5), percentile(lengths, 95)
    if p5 is None or p95 is None or len(lengths) < ENOUGH_RUNS:
        return None
    return p5, p95


def unusual(bounds: tuple[int, int] | None, took: object) -> str:
    """Say in what a success that *took* so many ms is far from the usual ones; "" if it is not."""
    if bounds is None or type(took) is not int:
        return ""
    p5, p95 = bounds
    if took > 3 * p95 and took - p95 >= _WORTH_A_WORD_MS:
        much, most = "three times as long as", f"95 % of its successes took at most {span(p95)}"
    elif 3 * took < p5 and p5 - took >= _WORTH_A_WORD_MS:
        much, most = "a third of", f"95 % of its successes took at least {span(p5)}"
    else:
        return ""
    more = "more" if took > p95 else "less"
    return f"took {span(took)}, {more} than {much} usual: {most}"


def fitting_timeout(ordered: list[int]) -> int | None:
    """Return p95 + 50 %, in whole seconds as ms, or None while there are too few successes."""
    p95 = percentile(ordered, 95)
    if p95 is None or len(ordered) < ENOUGH_RUNS:
        return None
    return max(-(-p95 * 3 // (2 * _SECOND)), 1) * _SECOND
