"""What the run's machine can see. Replies of a store, news of the processes, signals, time.

`sent_at` is when the request that is answered was sent, in monotonic ms: a lease counts from
there. `clock` is the store's own clock in ms since the epoch, 0 where leases do not end by one.
`left` is how long the store will still keep the lease in the way, in ms.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import Owner


class Event:
    """Something the machine can see."""

    __slots__ = ()


class Begin(Event):
    """The run may start."""

    __slots__ = ()


class Granted(Event):
    """The lease is ours, with this fencing token, at this index of those that the job may have.

    `slot` is the slot that it used up, in ms since the epoch; 0 without one · `failures` how many
    runs of the job have failed in a row so far.
    """

    __slots__ = ("clock", "failures", "index", "sent_at", "slot", "token")

    def __init__(
        self, sent_at: int, token: int, index: int, clock: int, slot: int = 0, failures: int = 0
    ) -> None:
        self.slot = slot
        self.failures = failures
        self.sent_at = sent_at
        self.token = token
        self.index = index
        self.clock = clock


class Held(Event):
    """Another run holds the lease; `gone` when its whole tree is proven dead on this host.

    `over` when that run has ended, and its lease is only kept for its `min_hold` · `lock` which of
    the further locks it is, if it is not the job's own.
    """

    __slots__ = ("gone", "holder", "left", "lock", "over", "sent_at")

    def __init__(
        self, sent_at: int, holder: Owner, left: int, gone: bool = False, *, over: bool = False
    ) -> None:
        self.lock = ""
        self.over = over
        self.sent_at = sent_at
        self.holder = holder
        self.left = left
        self.gone = gone


class Queued(Event):
    """We stand in the queue, with `ahead` runs before us; `lock` as for Held."""

    __slots__ = ("ahead", "gone", "holder", "left", "lock", "sent_at")

    def __init__(
        self, sent_at: int, holder: Owner, left: int, ahead: int, gone: bool = False
    ) -> None:
        self.lock = ""
        self.sent_at = sent_at
        self.holder = holder
        self.left = left
        self.ahead = ahead
        self.gone = gone


class Refused(Event):
    """It may not start, by the store's word (`conflict`, `slot_done`, `paused`) or this host's.

    The host's reasons are `dead_man_required`, `isolation_refused` and `log_refused`. `holder` is
    the run that is in the way, if there is one, and `gone` as for Held; `slot` the one that it used
    up.
    """

    __slots__ = ("gone", "holder", "reason", "slot", "why")

    def __init__(self, reason: str, why: str, holder: Owner | None = None, slot: int = 0) -> None:
        self.gone = False
        self.slot = slot
        self.reason = reason
        self.why = why
        self.holder = holder


class OffSchedule(Event):
    """The store's clock is not within the moments that it was told of: which are around it?"""

    __slots__ = ("clock",)

    def __init__(self, clock: int) -> None:
        self.clock = clock


class Renewed(Event):
    """The lease lasts on; `stop_by` names who asked for the run to be stopped."""

    __slots__ = ("clock", "sent_at", "stop_by")

    def __init__(self, sent_at: int, clock: int, stop_by: str | None) -> None:
        self.sent_at = sent_at
        self.clock = clock
        self.stop_by = stop_by


class Gone(Event):
    """The store has no such lease any more, and nobody else's either."""

    __slots__ = ("sent_at",)

    def __init__(self, sent_at: int) -> None:
        self.sent_at = sent_at


class Taken(Event):
    """The lease is, or was since, someone else's (None when it is not known whose)."""

    __slots__ = ("holder",)

    def __init__(self, holder: Owner | None) -> None:
        self.holder = holder


class Closed(Event):
    """The store has the end record, and the lease back."""

    __slots__ = ()


class Unavailable(Event):
    """A request got no answer, or one that may pass; `request` is its name."""

    __slots__ = ("request", "why")

    def __init__(self, request: str, why: str) -> None:
        self.request = request
        self.why = why


class Denied(Event):
    """The store refuses us for good: wrong password, missing permission, not a store."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class Flawed(Event):
    """The store works, but is not what it is taken for, and can do less; told once."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class Woken(Event):
    """Something happened to the job in the store, or to the connection: ask again now."""

    __slots__ = ()


class Spawned(Event):
    """The command runs."""

    __slots__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid = pid


class NotSpawned(Event):
    """The command could not be started; the status that says so, and why."""

    __slots__ = ("exit_status", "why")

    def __init__(self, exit_status: int, why: str) -> None:
        self.exit_status = exit_status
        self.why = why


class Exited(Event):
    """The child ended with this wait(2) status, and left so many processes behind.

    `why` is the record's reason where more than the status is known · `said` what is at fault with
    its output so far · `is_own_limit` whether it was killed for --memory-max, and not for others'.
    """

    __slots__ = ("is_own_limit", "left", "said", "status", "why")

    def __init__(self, status: int, left: int, why: str = "") -> None:
        self.said = ""
        self.is_own_limit = False
        self.status = status
        self.left = left
        self.why = why


class Suspended(Event):
    """The terminal stopped the child with this signal (Ctrl-Z)."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        self.signum = signum


class TreeDead(Event):
    """No process of the run is left; `said` as for Exited."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        self.said = ""


class Unkillable(Event):
    """A process of the run survives KILL, or may not be signalled."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class GuardianDied(Event):
    """The guardian is gone without having said that the tree is dead."""

    __slots__ = ()


class Signalled(Event):
    """cronguard itself received this signal."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        self.signum = signum


class StopAsked(Event):
    """Somebody asked for this run to be stopped."""

    __slots__ = ("by",)

    def __init__(self, by: str) -> None:
        self.by = by


class Tick(Event):
    """Time has passed."""

    __slots__ = ()
