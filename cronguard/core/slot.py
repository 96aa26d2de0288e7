"""Slots: at most one run for each. Which one a run is for, by the store's clock.

A rule is text, as it is sent to a store: `*/300000` stands for the multiples of so many ms since
the epoch, `1790000000000 1790000300000` for a few moments, in order, of a schedule without end. One
moment alone is that slot, whatever the clock says: the run has been told which one is its own.

A run is for the slot that is nearest, so a clock that is wrong by less than half the way to the
next slot, in either direction, makes no difference. scripts/acquire.lua does the same.
"""

from __future__ import annotations

SPARE_MS = 60_000
_PERIOD = "*/"


def every(period: int) -> str:
    """Return the rule for the multiples of *period* ms."""
    return f"{_PERIOD}{period}"


def among(moments: list[int]) -> str:
    """Return the rule for some moments of a schedule, in order."""
    return " ".join([str(moment) for moment in moments])


def kept_for(gap: int) -> int:
    """Return how long a slot that is used must be remembered, with *gap* ms to the next ones."""
    return 2 * gap + SPARE_MS


def nearest(rule: str, clock: int) -> int | None:
    """Return the slot, or None if *clock* is not within the moments of the rule."""
    if rule.startswith(_PERIOD):
        period = int(rule[len(_PERIOD) :])
        return (clock + period // 2) // period * period
    moments = [int(word) for word in rule.split(" ")]
    if len(moments) > 1 and not moments[0] <= clock <= moments[-1]:
        return None
    best = moments[0]
    for moment in moments[1:]:
        if 2 * clock >= best + moment:
            best = moment
    return best
