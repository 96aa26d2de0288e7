"""What supervision costs while the command runs: memory and processor time of both processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import Bench, Row, until

SETTLE_S = 7.0
"""The first heartbeat is over then, and all that is loaded late is loaded."""
WATCH_S = 40.0


def rows(bench: Bench) -> Iterator[Row]:
    """Watch one idle run on each store, both at the same time."""
    runs = {
        name: bench.run(store, "-n", f"idle-{name}", "--", "sleep", "600", stdout=subprocess.PIPE)
        for name, store in bench.stores.items()
    }
    try:
        pids = {name: [run.pid, guardian_of(run.pid)] for name, run in runs.items()}
        time.sleep(SETTLE_S)
        before = {name: cpu_ns(both) for name, both in pids.items()}
        begun = time.monotonic()
        for name, both in pids.items():
            yield Row(f"PSS of keeper + guardian, {name}", pss(both), must=14, aim=10, unit=" MB")
            yield Row(f"the same, if nothing else here ran this Python, {name}", alone(both),
                      unit=" MB")  # fmt: skip
        time.sleep(WATCH_S)
        hours = (time.monotonic() - begun) / 3600
        for name, both in pids.items():
            used = (cpu_ns(both) - before[name]) / 1e9 / hours
            yield Row(f"CPU in an hour of supervision, {name}", used, must=1, aim=0.3, unit=" s")
    finally:
        for run in runs.values():
            run.terminate()
            run.communicate()


def guardian_of(keeper: int) -> int:
    """Return the guardian's pid, once there is one."""
    children = Path(f"/proc/{keeper}/task/{keeper}/children")
    until("the guardian and its child", lambda: bool(children.read_text().split()))
    guardian = int(children.read_text().split()[0])
    below = Path(f"/proc/{guardian}/task/{guardian}/children")
    until("the command", lambda: bool(below.read_text().split()))
    return guardian


def pss(pids: list[int]) -> float:
    """Return the proportional memory of the processes, in MB."""
    return sum(_kb(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) / 1024


def alone(pids: list[int]) -> float:
    """Return what they would take if they shared pages with each other only, in MB.

    Other Python processes on the host make PSS smaller than that; this takes each mapped file's
    largest resident part once, and of everything else the proportional part.
    """
    files: dict[str, int] = {}
    private = 0
    for pid in pids:
        sizes: dict[str, int] = {}
        name = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):
                name = rest[4] if len(rest) > 4 and rest[4].startswith("/") else ""
            elif first == ("Rss:" if name else "Pss:"):
                sizes[name] = sizes.get(name, 0) + int(rest[0])
        private += sizes.pop("", 0)
        for file, size in sizes.items():
            files[file] = max(files.get(file, 0), size)
    return (private + sum(files.values())) / 1024


def cpu_ns(pids: list[int]) -> int:
    """Return the processor time of all threads of the processes, in ns (proc(5), schedstat)."""
    return sum(
        int(task.read_text().split()[0])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def _kb(path: str, field: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"{path} has no {field}")
