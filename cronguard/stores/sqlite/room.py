"""Set blocks of the disk aside for the log, so that heartbeats go on when the disk is full.

fallocate(2) with KEEP_SIZE gives the log blocks beyond its end and does not touch what is in it,
whoever writes there at the same time. posix_fallocate is no substitute: where the file system
cannot do it, glibc reads and writes blocks by itself, in a race with those who append. Opening
and closing the log is harmless: SQLite keeps its locks on the other two files.
"""

from __future__ import annotations

import ctypes
import os

from cronguard.stores.sqlite.schema import LOG_BYTES

_KEEP_SIZE = 1


def reserve(path: str) -> None:
    """Give the log of the database at *path* its full room, where the file system can."""
    try:
        fd = os.open(path + "-wal", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        off_t = ctypes.c_int64
        fallocate = getattr(ctypes.CDLL(None), "fallocate64", None)
        if fallocate is not None:
            fallocate(fd, _KEEP_SIZE, off_t(0), off_t(LOG_BYTES))
    except AttributeError:  # a libc without it (musl has only fallocate, with 64 bits)
        pass
    finally:
        os.close(fd)
