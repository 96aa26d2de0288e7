#!/usr/bin/env python3
"""Python code under a job's lock: checks between its steps, and writes with its fencing token.

    examples/guarded.py report.db 3

It shares the lock with `cronguard run --name report`, on this host or, with CRONGUARD_STORE, in the
whole fleet. See fenced_writer.py for why the token goes with each write.
"""

from __future__ import annotations

import logging
import sys

from fenced_writer import Stale, write

from cronguard import NotStarted, Stopped, guard


def report(path: str, steps: int) -> None:
    """Write a page in several steps, none of which begins without the lock."""
    with guard("report", timeout="10m") as lease:
        for step in range(1, steps + 1):
            lease.check()
            write(path, f"step {step}", "done", lease.token or 0)


def main() -> int:
    """Do it, and say in one line why if it could not be done."""
    logging.basicConfig(format="%(message)s")
    try:
        report(sys.argv[1], int(sys.argv[2]))
    except (NotStarted, Stopped, Stale) as error:
        print(f"guarded: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
