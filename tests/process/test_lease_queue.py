"""--wait: a fair queue that survives the death of those who stand in it."""

from __future__ import annotations

import os
import signal

from tests.process.lab import Lab, until
from tests.process.witness import Guarded

WAIT = ("--ttl", "2m", "--wait", "forever")
"""So long a lease that nobody here starts because one has expired."""


def appending(lab: Lab, letter: str) -> tuple[str, ...]:
    """Return a command that adds *letter* to what the others wrote."""
    return ("sh", "-c", f"printf {letter} >> {lab.folder}/order")


def waiting(lab: Lab, letter: str) -> Guarded:
    """Start a run that waits for the lock; return when it stands in the queue."""
    run = Guarded(lab, *WAIT, command=appending(lab, letter))
    run.says("waiting for the lock")
    return run


def queue(lab: Lab) -> list[str]:
    """Return who stands in the queue."""
    return lab.ask(lambda history: history.waiters("job"))  # type: ignore[return-value]


def test_l15_who_waits_longest_runs_next(lab: Lab) -> None:
    """L15: first in, first out; who does not wait is skipped even when the lock is free."""
    first = Guarded(lab, *WAIT).ready()
    waiters = [waiting(lab, letter) for letter in "abcde"]
    hasty = lab.call("run", "-n", "job", "--ttl", "2m", "-E", "9", "--", *appending(lab, "x"))
    assert hasty.returncode == 9
    assert len(queue(lab)) == 5
    assert first.end() == 7
    assert [run.status() for run in waiters] == [0] * 5
    assert lab.said("order") == "abcde"
    assert queue(lab) == []
    waits = [record["wait_ms"] for record in lab.records("job")][:5]
    assert all(isinstance(wait, int) and wait > 0 for wait in waits)


def test_l15_a_stopped_waiter_is_not_overtaken_while_its_place_lasts(lab: Lab) -> None:
    """L15: a run that does not wait never takes the lock that a waiter is about to get."""
    first = Guarded(lab, *WAIT).ready()
    waiter = waiting(lab, "a")
    os.kill(waiter.pid, signal.SIGSTOP)
    assert first.end() == 7
    hasty = lab.call("run", "-n", "job", "--ttl", "2m", "-E", "9", "--", *appending(lab, "x"))
    os.kill(waiter.pid, signal.SIGCONT)
    assert waiter.status() == 0, waiter.said
    assert (hasty.returncode, lab.said("order")) == (9, "a")


def test_l14_a_dead_waiter_loses_its_place(lab: Lab) -> None:
    """L14: the next one runs when the dead one's place has expired, without anybody's help."""
    first = Guarded(lab, *WAIT).ready()
    dead, alive = waiting(lab, "a"), waiting(lab, "b")
    dead.process.kill()
    dead.status()
    assert first.end() == 7
    assert alive.status() == 0, alive.said
    assert lab.said("order") == "b"
    assert queue(lab) == []


def test_a_wait_that_expires_is_a_skip(lab: Lab) -> None:
    """It leaves the queue, says how long it waited, and records the reason and the holder."""
    first = Guarded(lab, *WAIT).ready()
    done = lab.call("run", "-n", "job", "--ttl", "2m", "-w", "300ms", "-E", "9", "--", "true")
    assert done.returncode == 9
    assert b"waited 300ms for the lock" in done.stderr
    [skip] = lab.skips("job")
    assert (skip["outcome"], skip["reason"]) == ("skipped", "wait_expired")
    assert skip["holder"]["pid"] == first.pid  # type: ignore[index]
    assert queue(lab) == []
    assert first.end() == 7


def test_a_signal_ends_a_wait(lab: Lab) -> None:
    """TERM to a waiter: 143, nothing was started, the place in the queue is given up."""
    first = Guarded(lab, *WAIT).ready()
    waiter, other = waiting(lab, "a"), waiting(lab, "b")
    waiter.process.terminate()
    assert waiter.status() == 128 + signal.SIGTERM
    assert len(queue(lab)) == 1
    assert first.end() == 7
    assert other.status() == 0
    assert lab.said("order") == "b"
    outcomes = sorted(str(record["outcome"]) for record in lab.records("job"))
    assert outcomes == ["failed", "stopped", "succeeded"]


def test_a_waiter_can_be_asked_to_stop(lab: Lab) -> None:
    """The word reaches it while it waits, and nothing is started."""
    first = Guarded(lab, *WAIT).ready()
    waiter = waiting(lab, "a")
    [run_id] = queue(lab)
    lab.ask(lambda history: history.ask_stop("job", run_id, "tester"))
    assert waiter.status() == 128 + signal.SIGTERM, waiter.said
    assert "stopped by tester" in waiter.said
    assert first.end() == 7
    until("an empty queue", lambda: queue(lab) == [])
    assert lab.said("order") == ""
