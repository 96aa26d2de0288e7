"""Forking where there may be little room, and running ahead of what was forked."""

from __future__ import annotations

import os
from errno import EAGAIN, ENOMEM
from select import poll

FORK_AGAIN_MS = 100
NICER = 5


def fork_patiently() -> int:
    """Fork, with one more try when the system has no room just now. Raises: OSError."""
    try:
        return os.fork()
    except OSError as error:
        if error.errno not in (EAGAIN, ENOMEM):
            raise
    poll().poll(FORK_AGAIN_MS)
    return os.fork()


def go_before_the_child() -> int | None:
    """Let keeper and guardian run before a busy child, if we may; return what the child had.

    Under a 16-fold overload a death at equal priority takes up to 124 ms to be noticed.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, usual - NICER)
    except OSError:
        return None
    return usual
