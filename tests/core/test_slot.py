"""The nearest slot, which scripts/acquire.lua chooses in the same way."""

from __future__ import annotations

import pytest

from cronguard.core.slot import among, every, nearest


@pytest.mark.parametrize(
    ("clock", "slot"),
    [(300_000, 300_000), (150_000, 300_000), (449_999, 300_000), (450_000, 600_000), (0, 0)],
)
def test_a_clock_may_be_wrong_by_half_a_period(clock: int, slot: int) -> None:
    """L13: in either direction; from the middle on it is the next one."""
    assert nearest(every(300_000), clock) == slot


@pytest.mark.parametrize(
    ("clock", "slot"),
    [(99, None), (100, 100), (149, 100), (150, 200), (200, 200), (599, 200), (600, 1000),
     (1000, 1000), (1001, None)],
)  # fmt: skip
def test_the_nearest_of_moments_that_are_not_evenly_apart(clock: int, slot: int | None) -> None:
    """L13: and none where it cannot be known."""
    assert nearest(among([100, 200, 1000]), clock) == slot


def test_one_moment_is_the_slot_whatever_the_clock_says() -> None:
    """L13: the run has been told."""
    assert nearest(among([7]), 1_000_000) == 7
