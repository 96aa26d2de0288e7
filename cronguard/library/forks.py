"""Forks of the program while a lease is held: none comes in the middle of the keeper's work.

A fork copies memory, open files and the thread that forks, no other. So a child must not renew, nor
touch the connection that is its parent's; and a copy of SQLite in the middle of a transaction would
damage the log that both map. Each keeper holds its lock while it works, and not while it waits; a
fork waits for all locks (os.register_at_fork), and the child lets go of what it got.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Holds(Protocol):
        """Something with descriptors that a child must not use."""

        working: Lock

        def forget(self) -> None:
            """Let go of them."""


_changing = Lock()
_open: list[Holds] = []


def add(one: Holds) -> None:
    """From now on no fork comes while *one* works."""
    with _changing:
        _open.append(one)


def remove(one: Holds) -> None:
    """It has nothing open any more. WARNING: not while it holds its own lock."""
    with _changing:
        if one in _open:
            _open.remove(one)


def _before() -> None:
    _changing.acquire()
    for one in _open:
        one.working.acquire()


def _in_parent() -> None:
    for one in _open:
        one.working.release()
    _changing.release()


def _in_child() -> None:
    for one in _open:
        one.forget()
        one.working.release()
    _open.clear()
    _changing.release()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
