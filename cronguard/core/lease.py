"""The lease's arithmetic: how long a grant may be trusted, and when to give up.

All times are integer milliseconds on CLOCK_BOOTTIME, which counts suspended time. A lease counts
from the moment *before* its request was sent: the store starts counting when it executes the
script, which is never earlier, so the local end is never later than the store's.

    sent_at                     give_up_at          kill_at   ends_at            the store frees it
       |---- heartbeats, retries ---|-- TERM ... KILL --|-- margin --|-- takeover delay --|

With D = ends_at, K = kill_at, G = give_up_at, T = the TTL, e = the largest relative error between
the two clocks' rates, M = the margin, g = the loss grace:

    D = sent_at + T(1 - e) - 2 ms       K = D - M       G = K - g - 500 ms

The store holds the key for T plus a takeover delay, so another run cannot start before
sent_at + (T + delay)(1 - e), which is later than D. The kernel kills the run at K whatever the
state of our process is. What this assumes is written in the README under "Promises".
"""

MIN_TTL_MS = 10_000
MAX_TTL_MS = 24 * 3_600_000
FULL_TTL_MS = 30_000
"""From this TTL on, the times below are constant; shorter TTLs shrink them in proportion."""

TAKEOVER_MS = 5_000
"""How much longer the store keeps the key than the owner trusts it."""
CLOCK_ERROR_PERMILLE = 50
PRECISION_MS = 2
"""Redis expires keys with a precision of a millisecond or two."""
DEATH_MS = 500
"""Observing the tree's death after KILL: measured worst under a 16-fold CPU overload."""
ATTEMPTS = 3
"""Renewals that must fit after a failed heartbeat, or the TTL is refused."""


class LeaseTimes:
    """The durations that follow from one TTL. Immutable by convention; milliseconds.

    `every` heartbeat interval · `attempt` one try's timeout, with connecting and resolving ·
    `backoff` longest pause between tries · `margin` from the kernel's kill to the lease's end ·
    `grace` from TERM to KILL when the lease is being lost · `px` what the store is asked to keep.
    """

    __slots__ = ("attempt", "backoff", "every", "grace", "margin", "px", "trusted", "ttl")

    def __init__(self, ttl: int) -> None:
        reach = min(ttl, FULL_TTL_MS) - MIN_TTL_MS
        span = FULL_TTL_MS - MIN_TTL_MS
        self.ttl = ttl
        self.every = 1_500 + 3_500 * reach // span
        self.attempt = 800 + 1_200 * reach // span
        self.backoff = 200 + 800 * reach // span
        self.grace = 1_000 + 4_000 * reach // span
        self.margin = max(1_500, ttl // 20)
        self.px = ttl + TAKEOVER_MS
        self.trusted = ttl * (1000 - CLOCK_ERROR_PERMILLE) // 1000 - PRECISION_MS

    def ends_at(self, sent_at: int) -> int:
        """Return the moment from which the lease may be someone else's."""
        return sent_at + self.trusted

    def kill_at(self, sent_at: int) -> int:
        """Return when the kernel kills the run: early enough to be dead before the end."""
        return self.ends_at(sent_at) - self.margin

    def give_up_at(self, sent_at: int) -> int:
        """Return when to stop hoping and stop the run politely."""
        return self.kill_at(sent_at) - self.grace - DEATH_MS

    def shortest_ttl(self) -> int:
        """Return the TTL that these times need at the least."""
        used = self.every + ATTEMPTS * (self.attempt + self.backoff) + self.grace + DEATH_MS
        return (used + self.margin + PRECISION_MS) * 1000 // (1000 - CLOCK_ERROR_PERMILLE)


def ttl_problem(ttl: int) -> str | None:
    """Say why *ttl* breaks the timing rule, with the numbers, or return None."""
    if ttl > MAX_TTL_MS:
        return (
            f"a TTL of {ttl // 1000}s is longer than a day; the heartbeat extends the lock however "
            "long the job runs, so the default of 30s suits any job"
        )
    if ttl >= MIN_TTL_MS:
        return None
    times = LeaseTimes(MIN_TTL_MS)
    return (
        f"a TTL of {ttl / 1000:g}s leaves no room to renew: heartbeat {times.every / 1000:g}s + "
        f"{ATTEMPTS} attempts of {(times.attempt + times.backoff) / 1000:g}s + grace "
        f"{times.grace / 1000:g}s + {DEATH_MS / 1000:g}s to see the tree dead + margin "
        f"{times.margin / 1000:g}s + {CLOCK_ERROR_PERMILLE / 10:g}% clock error need at least "
        f"{MIN_TTL_MS // 1000}s"
    )
