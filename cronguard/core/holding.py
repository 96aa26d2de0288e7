"""A granted lease, as its owner sees it: when to renew it, and when to stop trusting it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.lease import LeaseTimes

FIRST_BACKOFF_MS = 100
RATE_ERROR_PERMILLE = 10
"""How differently two clocks may run before it is called a step."""
CLOCK_PRECISION_MS = 2
WOKEN_WITHIN_MS = 250
"""How soon the lease is asked for when its connection broke: all holders lose it at once."""


class Jitter:
    """Numbers that look random, from a seed: hosts that start together do not stay in step."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & 0x7FFFFFFF

    def shorten(self, duration: int, percent: int) -> int:
        """Return *duration* less up to *percent* of it; never more than *duration*."""
        self._state = (self._state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        return duration - duration * percent * (self._state >> 8) // (100 << 23)


def backoff(failures: int, longest: int, jitter: Jitter) -> int:
    """Return the pause before trying again after so many failures in a row (1, 2, ...), in ms."""
    return jitter.shorten(min(FIRST_BACKOFF_MS << min(failures - 1, 16), longest), 50)


class StoreClock:
    """The store's wall clock, by which leases expire, against ours, by which we trust them."""

    __slots__ = ("_clock", "_heard_at", "_sent_at")

    def __init__(self) -> None:
        self._clock = 0
        self._sent_at = 0
        self._heard_at = 0

    def stepped(self, clock: int, sent_at: int, now: int) -> int:
        """Return by how many ms the store's clock stepped since it was last heard; 0 if it did not.

        *clock* was read between *sent_at* and *now*; 0 if the store tells none. What the two trips
        and a rate that is 1 % off explain is no step.
        """
        since, self._clock = self._clock, clock
        shortest, longest = sent_at - self._heard_at, now - self._sent_at
        self._sent_at, self._heard_at = sent_at, now
        if not clock or not since:
            return 0
        passed = clock - since
        most = longest * (1000 + RATE_ERROR_PERMILLE) // 1000 + CLOCK_PRECISION_MS
        least = shortest * (1000 - RATE_ERROR_PERMILLE) // 1000 - CLOCK_PRECISION_MS
        return passed - most if passed > most else min(passed - least, 0)


class Holding:
    """The lease between its grant and its end; moments in monotonic ms.

    `sent_at` when the last successful request was sent: everything counts from there ·
    `ask_at` when to ask again · `asking` a request is under way · `vanished` the store has lost
    the lease, so the next request reclaims it · `failing_since` when renewals began to fail ·
    `every` how often it is renewed, which is twice as often once the store's clock has stepped.
    """

    __slots__ = (
        "ask_at",
        "asking",
        "clock",
        "every",
        "failing_since",
        "failures",
        "index",
        "jitter",
        "longest_gap",
        "renew_failures",
        "renewals",
        "sent_at",
        "times",
        "token",
        "vanished",
    )

    def __init__(
        self, times: LeaseTimes, token: int, index: int, sent_at: int, jitter: Jitter
    ) -> None:
        self.times = times
        self.token = token
        self.index = index
        self.sent_at = sent_at
        self.jitter = jitter
        self.clock = StoreClock()
        self.every = times.every
        self.asking = False
        self.vanished = False
        self.failing_since: int | None = None
        self.failures = 0
        self.renewals = 0
        self.renew_failures = 0
        self.longest_gap = 0
        self.ask_at = sent_at + jitter.shorten(times.every, 10)

    @property
    def give_up_at(self) -> int:
        """When to stop hoping for a renewal and stop the run politely."""
        return self.times.give_up_at(self.sent_at)

    @property
    def kill_at(self) -> int:
        """When the run must be killed at the latest."""
        return self.times.kill_at(self.sent_at)

    @property
    def ends_at(self) -> int:
        """When the lease may be someone else's."""
        return self.times.ends_at(self.sent_at)

    def hurry(self) -> None:
        """From now on, renew twice as often: the store's clock cannot be trusted."""
        self.every = self.times.every // 2

    def woken(self, now: int) -> None:
        """Ask soon: the connection to the store broke, and it may have lost the lease."""
        self.ask_at = min(self.ask_at, now + self.jitter.shorten(WOKEN_WITHIN_MS, 100))

    def extended(self, sent_at: int) -> None:
        """Note a renewal that was sent at *sent_at*."""
        self.longest_gap = max(self.longest_gap, sent_at - self.sent_at)
        self.sent_at = max(self.sent_at, sent_at)
        self.ask_at = sent_at + self.jitter.shorten(self.every, 10)
        self.asking = self.vanished = False
        self.failing_since = None
        self.failures = 0
        self.renewals += 1

    def failed(self, now: int) -> None:
        """Note a renewal that got no answer, or a bad one."""
        self.asking = False
        self.failures += 1
        self.renew_failures += 1
        if self.failing_since is None:
            self.failing_since = now
        self.ask_at = now + backoff(self.failures, self.times.backoff, self.jitter)

    def gap(self, now: int) -> int:
        """Return the longest time without a renewal, up to *now*."""
        return max(self.longest_gap, now - self.sent_at)
