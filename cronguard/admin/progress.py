"""A progress bar for what takes longer than a second: at a terminal, and nothing anywhere else.

It stands on stderr, and goes away when the work is done.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Drawn
    from rich.progress import TaskID

T = TypeVar("T")
AFTER_S = 1.0


class Progress:
    """How far something is. `total` is None where nobody knows how much it is."""

    def __init__(self, what: str, total: int | None = None, *, after: float = AFTER_S) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._after = after
        self._drawn: Drawn | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._over = False

    def __enter__(self) -> Self:
        """Begin; the bar comes when it takes long."""
        if sys.stderr.isatty():
            self._timer = threading.Timer(self._after, self._draw)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._over = True
            if self._drawn is not None:
                self._drawn.stop()

    def step(self, by: int = 1) -> None:
        """Tell that so much more is done."""
        self._done += by
        if self._drawn is not None and self._task is not None:
            self._drawn.update(self._task, completed=self._done)

    def _draw(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 60 ms, for what takes long at a terminal
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415

        console = Console(file=sys.stderr, highlight=False)
        with self._lock:
            if self._over or not console.is_interactive:
                return
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            # Answers go to stdout by themselves, and are none of the bar's business.
            self._drawn = Bar(
                *columns,
                console=console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._drawn.add_task(self._what, total=self._total, completed=self._done)
            self._drawn.start()


def each(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield *items*, and show how many of them are done."""
    with Progress(what, len(items)) as progress:
        for item in items:
            yield item
            progress.step()


def parts(items: Sequence[T], size: int, what: str) -> Iterator[list[T]]:
    """Yield *items* in lists of up to *size*, and show how many of them are done."""
    with Progress(what, len(items)) as progress:
        for begin in range(0, len(items), size):
            some = list(items[begin : begin + size])
            yield some
            progress.step(len(some))
