"""How soon things happen: the next run after a release, and TERM after the timeout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime

from tests.bench.bench import Bench, Row, percentile, until

HANDOFFS = 60
TIMEOUTS = 30
STEP = 'echo "$EPOCHREALTIME"; read -r _; echo "$EPOCHREALTIME"'
"""Says when it begins, waits for a line, says when it ends. Bash needs about 1 ms to begin."""
PATIENT = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.sigwait([signal.SIGTERM])
print(time.time())
"""
TIMEOUT_S = 0.3


def rows(bench: Bench) -> Iterator[Row]:
    """Measure both on each store."""
    for name, store in bench.stores.items():
        taken = handoffs(bench, store)
        yield Row(f"end of a run to start of the one that waits, {name}, p50",
                  percentile(taken, 50), must=10, aim=3, unit=" ms")  # fmt: skip
        yield Row(f"the same, {name}, p99", percentile(taken, 99), must=50, aim=10, unit=" ms")
    for name, store in bench.stores.items():
        late = lateness(bench, store)
        yield Row(f"TERM after the timeout's moment, {name}, p50", percentile(late, 50), must=10,
                  aim=2, unit=" ms")  # fmt: skip
        yield Row(f"the same, {name}, worst", max(late), must=10, aim=2, unit=" ms")


def handoffs(bench: Bench, store: str) -> list[float]:
    """Return, in ms, how long the lock was nobody's each time: one holds, one waits, in turn."""
    history = bench.history(store)
    taken = []
    try:
        holder = _step(bench, store)
        _moment(holder)
        for _ in range(HANDOFFS):
            waiter = _step(bench, store)
            until("the waiter in the queue", lambda: bool(history.waiters("handoff")))
            assert holder.stdin is not None
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            ended = _moment(holder)
            taken.append((_moment(waiter) - ended) * 1000)
            _over(holder)
            holder = waiter
        _over(holder)
    finally:
        history.close()
    return taken


def _step(bench: Bench, store: str) -> subprocess.Popen[bytes]:
    return bench.run(
        store, "-n", "handoff", "--wait", "forever", "--", "bash", "-c", STEP,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _moment(run: subprocess.Popen[bytes]) -> float:
    assert run.stdout is not None
    return float(run.stdout.readline().replace(b",", b"."))


def _over(run: subprocess.Popen[bytes]) -> None:
    run.communicate(b"\n")


def lateness(bench: Bench, store: str) -> list[float]:
    """Return, in ms, how long after its start and its timeout each run was sent TERM.

    The start is what the record says, in whole ms.
    """
    taken = []
    history = bench.history(store)
    try:
        for _ in range(TIMEOUTS):
            run = bench.run(
                store, "-n", "late", "-t", f"{TIMEOUT_S}s", "--",
                bench.python, "-I", "-S", "-c", PATIENT,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            got = float(run.communicate()[0])
            started = datetime.fromisoformat(str(history.runs("late", 1)[0]["started_at"]))
            taken.append((got - started.timestamp() - TIMEOUT_S) * 1000)
    finally:
        history.close()
    return taken
