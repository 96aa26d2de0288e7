"""How long successes take, and when one is far from the others."""

from __future__ import annotations

import pytest

from cronguard.core.durations import ENOUGH_RUNS, unusual, usual

MINUTE = 60_000


def runs(*lengths: int, outcome: str = "succeeded") -> list[dict[str, object]]:
    return [{"outcome": outcome, "duration_ms": length} for length in lengths]


def test_too_few_successes_tell_nothing() -> None:
    """Nor do runs that failed, however many."""
    few = runs(*[MINUTE] * (ENOUGH_RUNS - 1))
    assert usual(few + runs(*[1] * 50, outcome="failed")) is None
    assert usual(few + runs(MINUTE)) == (MINUTE, MINUTE)


def test_bounds_leave_out_the_extremes() -> None:
    """One in twenty at each end."""
    assert usual(runs(*range(1_000, 101_000, 1_000))) == (5_000, 95_000)


@pytest.mark.parametrize(
    ("bounds", "took", "word"),
    [
        ((MINUTE, 2 * MINUTE), 6 * MINUTE, ""),
        (
            (MINUTE, 2 * MINUTE),
            6 * MINUTE + 1,
            "took 6m00s, more than three times as long as usual",
        ),
        ((MINUTE, 2 * MINUTE), MINUTE // 3, ""),
        (
            (MINUTE, 2 * MINUTE),
            MINUTE // 3 - 1,
            "less than a third of usual: 95 % of its successes",
        ),
        ((1, 2), 5_000, ""),
        ((1, 2), 5_002, "more than"),
        ((4_999, 9_000), 0, ""),
        ((5_000, 9_000), 0, "less than"),
        (None, MINUTE, ""),
        ((1, 2), None, ""),
        ((1, 2), True, ""),
    ],
)
def test_far_from_the_usual_is_said_and_by_how_much(
    bounds: tuple[int, int] | None, took: object, word: str
) -> None:
    """Beyond p95 x 3 or p5 / 3, and by seconds: a busy host is no news."""
    said = unusual(bounds, took)
    assert (word in said) if word else said == ""
