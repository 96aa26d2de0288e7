"""What the keeper drives for Python code: a block in another thread that can only be asked.

Spawn lets the block begin, and it counts as started at once. Its end is what Exited is for a
command: with an exception the outcome is `failed`. Signal does nothing here, as what the block is
to be told has been said by then (see keeper.py); Kill only says what it cannot do.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cronguard.core import events as ev
from cronguard.core.events import Event
from cronguard.runtime.output import Capture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.runtime.log import Log
    from cronguard.runtime.spill import Spill


class Block:
    """A `Work` (see runtime/parts.py): the block between its beginning and its end."""

    used = None  # processor time and memory are the process's, not the block's

    def __init__(
        self, begin: Callable[[dict[str, str]], None], overdue: Callable[[], None]
    ) -> None:
        self.child = 0
        self._begin = begin
        self._overdue = overdue
        self._news: list[Event] = []
        self._end: list[Event] = []

    def end(self, status: int, why: str, signum: int = 0) -> None:
        """Note that the block has ended with this exit status. The only call from its thread.

        A signal that made it end is told with it: its own way may be the longer one.
        """
        heard: list[Event] = [ev.Signalled(signum)] if signum else []
        # The time may have been up before.
        self._end = [*heard, ev.Tick(), ev.Exited(status << 8, 0, why)]

    def watches(self) -> list[int]:
        """Return nothing: the end is heard through the keeper's wake-up pipe."""
        return []

    def wake_at(self) -> int | None:
        """Return "now" while there is news."""
        return 0 if self._news else None

    def events(self, now: int) -> list[Event]:  # noqa: ARG002 - what every Work has
        """Return what has happened to it."""
        news, self._news = self._news, []
        if self.child:
            ended, self._end = self._end, []
            news += ended
        return news

    def spawn(self, additions: list[bytes], *, may_follow: bool, in_front: bool) -> None:  # noqa: ARG002
        """Let the block begin."""
        self.child = os.getpid()
        self._news.append(ev.Spawned(self.child))
        words = [os.fsdecode(word).partition("=") for word in additions]
        self._begin({name: value for name, _, value in words})

    def signal(self, signum: int) -> None:
        """Do nothing."""

    def forward(self, signum: int) -> None:
        """Do nothing: signals are the program's."""

    def kill(self, now: int) -> None:  # noqa: ARG002 - what every Work has
        """Say that it should be dead; the kernel's timer may see to it."""
        self._overdue()

    def leave(self) -> None:
        """Do nothing."""

    def dismiss(self) -> None:
        """Do nothing."""


class Silence:
    """A `Talk` (see runtime/parts.py) without output: what is said of a block is logged."""

    spill: Spill | None = None
    log: Log | None = None
    is_captured = False
    capture = Capture(0)

    def say(self, data: bytes) -> None:
        """Do nothing."""

    def say_all(self, timeout_ms: int) -> bool:  # noqa: ARG002
        """Return at once."""
        return True

    def settle(self, until: int) -> bool:  # noqa: ARG002
        """Return at once."""
        return True

    def finish(self, timeout_ms: int) -> bool:  # noqa: ARG002
        """Return at once."""
        return True
