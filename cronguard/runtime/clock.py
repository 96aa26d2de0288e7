"""The clocks. Decisions count on CLOCK_BOOTTIME; wall time appears in records only."""

from __future__ import annotations

from time import CLOCK_BOOTTIME, clock_gettime_ns, time_ns


def now_ms() -> int:
    """Return ms since boot, suspended time included."""
    return clock_gettime_ns(CLOCK_BOOTTIME) // 1_000_000


def wall_now() -> int:
    """Return ms since the epoch: for what is written down as it happens."""
    return time_ns() // 1_000_000


class Wall:
    """Turns moments of `now_ms` into wall time, by the offset at its making.

    One offset for the whole run: a step of the wall clock never makes a record end before it began.
    """

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = time_ns() // 1_000_000 - now_ms()

    def at(self, moment: int) -> int:
        """Return *moment* in ms since the epoch."""
        return moment + self.offset
