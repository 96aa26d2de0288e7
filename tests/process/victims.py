"""Commands for the tests to guard: they testify in files when they were alive. Run as a script.

    victims.py family FOLDER TAG [MS]   child, grandchild and daemon, for ever or for MS
    victims.py group FOLDER TAG [MS]    child and grandchild, which stay in one process group

Each process appends the boot-time clock, every few ms, to `FOLDER/TAG.ROLE.PID`. All of them ignore
TERM. The child prints `ready` when every one has begun, and takes care of nobody when it ends.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time

EVERY_S = 0.004
READY_S = 20.0


def testify(path: str, for_ms: int | None) -> None:
    """Append the time to *path*, again and again."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    end = None if for_ms is None else now_ns() + for_ms * 1_000_000
    while end is None or now_ns() < end:
        os.write(number, struct.pack("q", now_ns()))
        time.sleep(EVERY_S)
    os.write(number, struct.pack("q", now_ns()))


def now_ns() -> int:
    """Return ns since boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def name(folder: str, tag: str, role: str) -> str:
    """Return the file in which this process testifies."""
    return f"{folder}/{tag}.{role}.{os.getpid()}"


def grandchild(folder: str, tag: str, for_ms: int | None) -> None:
    """Start a process in the child's own group."""
    if os.fork() == 0:
        testify(name(folder, tag, "grandchild"), for_ms)
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
    for_ms = None if limit is None else int(limit)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    roles = ["grandchild"]
    grandchild(folder, tag, for_ms)
    if kind == "family":
        roles.append("daemon")
        daemon(folder, tag)
    end = time.monotonic() + READY_S
    while not all(has_begun(folder, f"{tag}.{role}.") for role in roles):
        if time.monotonic() > end:
            sys.exit("the family did not begin")
        time.sleep(0.002)
    os.write(1, b"ready\n")
    testify(name(folder, tag, "child"), for_ms)


def has_begun(folder: str, prefix: str) -> bool:
    """Tell whether that process has testified at all."""
    return any(
        entry.name.startswith(prefix) and entry.stat().st_size for entry in os.scandir(folder)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
