"""Something that happens once, in a thread, for which threads and asyncio tasks can wait."""

from __future__ import annotations

import asyncio
from threading import Event, Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Moment:
    """Not reached, then reached for ever."""

    def __init__(self) -> None:
        self._reached = Event()
        self._calls: list[Callable[[], None]] = []
        self._changing = Lock()

    def reach(self) -> None:
        """Let everybody go on who waits; the second time it does nothing."""
        with self._changing:
            self._reached.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def wait(self) -> None:
        """Return once it is reached."""
        self._reached.wait()

    async def come(self) -> None:
        """Return once it is reached; the event loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(_settle, future)
            except RuntimeError:  # the loop was closed, and nobody waits
                pass

        with self._changing:
            if self._reached.is_set():
                return
            self._calls.append(tell)
        await future


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
