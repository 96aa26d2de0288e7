"""What a guard raises. Before the block: NotStarted and its kinds. In it, by check(): Stopped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock: what is not known of it is empty or 0."""

    host: str
    user: str
    pid: int
    run_id: str


class GuardError(Exception):
    """The root of all that a guard raises; options that are wrong raise ValueError."""


class NotStarted(GuardError):
    """The block was not entered. `reason` is that of the record: `conflict`, `store_denied`, ..."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Skipped(NotStarted):
    """Another run holds the lock, or may run in our place.

    `reason` is `held`, `slot_done`, `paused` or `wait_expired`; `holder` is who is in the way, or
    None where that is nobody.
    """

    def __init__(self, text: str, reason: str, holder: Holder | None) -> None:
        super().__init__(text, reason)
        self.holder = holder


class StoreUnavailable(NotStarted):
    """The store could not be reached in time."""


class Stopped(GuardError):
    """The block is to end: somebody asked for that, or one of the kinds below."""


class TimedOut(Stopped):
    """The block has run for longer than its timeout. The lock is still ours."""


class LeaseLost(Stopped):
    """The lock is not surely ours any more: do nothing that only its holder may do."""
