"""What the keeper is made to drive: something that runs under the lease, and a way to speak.

For a command these are the minder, which has a guardian and a process tree, and the output; for
Python code a block in another thread (library/). For the type checker alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from cronguard.core.events import Event
    from cronguard.runtime.log import Log
    from cronguard.runtime.output import Capture
    from cronguard.runtime.spill import Spill
else:
    Protocol = object


class Work(Protocol):
    """What runs under the lease. `child` its pid once it runs · `used` as in Minder, or None."""

    child: int

    @property
    def used(self) -> tuple[int, int, int] | None:
        """What it has used so far, if that is known."""

    def watches(self) -> list[int]:
        """Return the descriptors to wait for."""

    def wake_at(self) -> int | None:
        """Return when `events` wants to be called though nothing was heard."""

    def events(self, now: int) -> list[Event]:
        """Return what has happened to it since the last time."""

    def spawn(self, additions: list[bytes], *, may_follow: bool, in_front: bool) -> None:
        """Start it, with these words beyond our environment.

        Another attempt *may_follow*; *in_front* it has the terminal, if there is one.
        """

    def signal(self, signum: int) -> None:
        """Ask it to end."""

    def forward(self, signum: int) -> None:
        """Hand it a signal that means nothing to us."""

    def kill(self, now: int) -> None:
        """End it, whatever it does."""

    def leave(self) -> None:
        """Let go of what is left of it."""

    def dismiss(self) -> None:
        """The run is over."""


class Talk(Protocol):
    """Where the output of what runs goes, and what we say ourselves."""

    spill: Spill | None
    log: Log | None

    @property
    def capture(self) -> Capture:
        """What was kept of the output."""

    @property
    def is_captured(self) -> bool:
        """Tell whether any output goes through us."""

    def say(self, data: bytes) -> None:
        """Say something to the user."""

    def say_all(self, timeout_ms: int) -> bool:
        """Wait until that is said."""

    def settle(self, until: int) -> bool:
        """Wait until all that was said is heard, at most so long; more may come."""

    def finish(self, timeout_ms: int) -> bool:
        """Wait until the output is through."""
