"""Waiters of this host hear at once when a lease is given back, and holders when to stop.

The bell is inotify(7) on the database file, which is rung by setting the file's times: one system
call, after the commit, and only when somebody may be waiting for it.

Roads not taken: watching the log (`-wal`) for writes. The write is seen before the commit can be
read, so a waiter looks too early and sleeps on; and every heartbeat of every job would wake every
waiter: two hundred of them, asking each second, would keep two cores busy with nothing else.
A socket or FIFO per waiter: files that a killed waiter leaves behind.
"""

from __future__ import annotations

import ctypes
import os

_IN_ATTRIB = 0x4
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # IN_NONBLOCK and IN_CLOEXEC are defined as these


class Bell:
    """Hears a ring at the database file.

    Raises: OSError when inotify is not to be had (no kernel support, or the user's limit reached).
    """

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        if libc.inotify_add_watch(self.fd, os.fsencode(path), _IN_ATTRIB) < 0:
            os.close(self.fd)
            raise OSError(ctypes.get_errno(), "inotify", path)

    def rang(self) -> bool:
        """Tell whether the bell was rung since the last call, and forget it."""
        try:
            return bool(os.read(self.fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Stop listening."""
        os.close(self.fd)


def ring(path: str) -> None:
    """Let all who listen look again."""
    try:
        os.utime(path, follow_symlinks=False)
    except OSError:  # they look again in time anyway
        pass
