"""A thousand contenders for one job: how many of them start."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from tests.bench.bench import Bench, Row

CONTENDERS = 1000
AT_A_TIME = 100
WINNER = 'echo started >> "$1"; until [ -e "$2" ]; do sleep 0.1; done'


def rows(bench: Bench) -> Iterator[Row]:
    """On each store, all contend while the one that started runs."""
    for name, store in bench.stores.items():
        begun = time.monotonic()
        started = contend(bench, store, name)
        taken = time.monotonic() - begun
        row = Row(f"{CONTENDERS} contenders for one job, {name}: runs that start", started, must=1)
        row.at_least = started < 1
        yield row
        yield Row(f"the same, {name}: all asked within", taken, unit=" s")


def contend(bench: Bench, store: str, name: str) -> int:
    """Return how many of the contenders started."""
    log, over = bench.folder / f"{name}.started", bench.folder / f"{name}.over"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    living: set[subprocess.Popen[bytes]] = set()
    begun = 0
    while begun < CONTENDERS or len(living) > 1:
        while begun < CONTENDERS and len(living) < AT_A_TIME:
            command = ["sh", "-c", WINNER, "sh", str(log), str(over)]
            living.add(bench.run(store, "-n", "crowd", "--", *command, **quiet))
            begun += 1
        living = {run for run in living if run.poll() is None}
        time.sleep(0.005)
    over.touch()
    for run in living:
        run.wait()
    return len(log.read_text().splitlines()) if log.exists() else 0
