"""Commands for the tests to guard: they testify in files when they were alive. Run as a script.

    victims.py family FOLDER TAG [LIMIT]  child, grandchild and daemon
    victims.py group FOLDER TAG [LIMIT]   child and grandchild, which stay in one process group

LIMIT is how many ms they live, or a file: they live until it is there. Without it, for ever.

Each process appends the boot-time clock, every few ms, to `FOLDER/TAG.ROLE.PID`. All of them ignore
TERM. The child prints `ready` when every one has begun, and takes care of nobody when it ends.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Callable

EVERY_S = 0.004
READY_S = 20.0


def testify(path: str, limit: str | None) -> None:
    """Append the time to *path*, again and again."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    is_over = end_of(limit)
    while not is_over():
        os.write(number, struct.pack("q", now_ns()))
        time.sleep(EVERY_S)
    os.write(number, struct.pack("q", now_ns()))


def end_of(limit: str | None) -> Callable[[], bool]:
    """Return what tells whether a life that begins now is over."""
    if limit is None:
        return lambda: False
    if limit.isdigit():
        end = now_ns() + int(limit) * 1_000_000
        return lambda: now_ns() >= end
    return lambda: os.path.exists(limit)


def now_ns() -> int:
    """Return ns since boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def name(folder: str, tag: str, role: str) -> str:
    """Return the file in which this process testifies."""
    return f"{folder}/{tag}.{role}.{os.getpid()}"


def grandchild(folder: str, tag: str, limit: str | None) -> None:
    """Start a process in the child's own group."""
    if os.fork() == 0:
        testify(name(folder, tag, "grandchild"), limit)
        os._exit(0)


def daemon(folder: str, tag: str) -> None:
    """Start a daemon by the book: own session, forked twice, no descriptor of ours."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 256)
    testify(name(folder, tag, "daemon"), None)


def main(kind: str, folder: str, tag: str, limit: str | None = None) -> None:
    """Start the family, wait until all testify, say so, and testify as well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    roles = ["grandchild"]
    grandchild(folder, tag, limit)
    if kind == "family":
        roles.append("daemon")
        daemon(folder, tag)
    end = time.monotonic() + READY_S
    while not all(has_begun(folder, f"{tag}.{role}.") for role in roles):
        if time.monotonic() > end:
            sys.exit("the family did not begin")
        time.sleep(0.002)
    os.write(1, b"ready\n")
    testify(name(folder, tag, "child"), limit)


def has_begun(folder: str, prefix: str) -> bool:
    """Tell whether that process has testified at all."""
    return any(
        entry.name.startswith(prefix) and entry.stat().st_size for entry in os.scandir(folder)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
