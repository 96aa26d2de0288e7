"""What a service manager is told in which phase of a run."""

from __future__ import annotations

from typing import Any

import pytest

from cronguard.core import events as ev
from cronguard.core import notices
from tests.core.test_machine import (
    ASKING,
    CLOSED,
    FAILED,
    HELD,
    IN_QUEUE,
    LINGERING,
    SPAWNING,
    TERM,
    TICK,
    UP,
    WELL,
    Step,
    play,
)

RUN_ID = "0a1b2c3d4e5f" + "0" * 20
STOPPED: list[Step] = [*UP, (100, TERM, "signal 15")]
NOT_FOUND: list[Step] = [
    *SPAWNING,
    (20, ev.NotSpawned(127, "gone"), "say not_started, disarm, close release unslot"),
    (30, CLOSED, "exit 127"),
]
SKIPPED: list[Step] = [*ASKING, (5, HELD, "say skipped, close unslot"), (9, CLOSED, "exit 0")]

# What the spec says, the story, a moment; then: ready, stopping, patience, the status.
CASES: list[tuple[dict[str, Any], list[Step], int, tuple[bool, bool, int, str]]] = [
    ({}, ASKING, 5, (False, False, 15_000, "waiting for the lock")),
    ({"wait": None}, IN_QUEUE, 60_000, (
        False, False, 15_000, "waiting for the lock, held by web-3, pid 7, run bbbbbbbbbbbb",
    )),
    ({"jitter": 1_000}, [(0, ev.Begin(), "")], 1, (
        False, False, 15_000, "waiting before it asks for the lock (--jitter)",
    )),
    ({}, [*ASKING, (5, ev.Unavailable("acquire", "connection refused"), "")], 6, (
        False, False, 15_000, "waiting for the store: connection refused",
    )),
    ({}, SPAWNING, 20, (False, False, 15_000, "starting the command")),
    ({}, UP, 240_020, (True, False, 0, "holding the lock for 4m00s")),
    ({"stragglers": "wait"}, LINGERING, 2_020, (
        True, False, 0,
        "holding the lock for 2s, the command has ended and its background processes run on",
    )),
    ({"retries": 2}, [*UP, (100, FAILED, "rest, say attempt_failed")], 1_020, (
        True, False, 0, "holding the lock for 1s, attempt 1 failed and the next one follows",
    )),
    ({}, STOPPED, 2_100, (True, True, 23_000, "stopping (stopped): KILL follows in 8s")),
    ({"kill_after": 1}, [*STOPPED, (101, TICK, "kill")], 200, (
        True, True, 15_000, "killing what is left",
    )),
    ({}, [*UP, (100, WELL, "disarm, close release")], 101, (True, True, 15_000, "succeeded")),
    ({}, [*UP, (100, WELL, "disarm, close release"), (110, CLOSED, "exit 0")], 111, (
        True, True, 20_000, "succeeded",
    )),
    ({}, SKIPPED[:-1], 6, (True, True, 15_000, "skipped: another run holds the lock")),
    ({}, SKIPPED, 10, (True, True, 20_000, "skipped: another run holds the lock")),
    ({}, NOT_FOUND, 40, (False, True, 20_000, "not started: gone")),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "steps", "now", "told"), CASES, ids=[c[3][3] for c in CASES])
def test_each_phase_is_told(
    spec: dict[str, Any], steps: list[Step], now: int, told: tuple[bool, bool, int, str]
) -> None:
    """READY once the command runs, or for a skip; patience where something is waited for."""
    run = play(spec, steps)
    status = notices.status(run, RUN_ID, now)
    found = (notices.is_ready(run), notices.is_stopping(run), notices.patience(run, now))
    assert (*found, status.removesuffix(", run 0a1b2c3d4e5f")) == told
    assert status.endswith("run 0a1b2c3d4e5f")


def test_what_strangers_wrote_stays_in_its_line() -> None:
    """A line more would be an assignment that systemd obeys."""
    asked = ev.StopAsked("ann\nMAINPID=1\x1b[2J")
    run = play({"wait": None}, [*IN_QUEUE, (50, asked, "say stopped_early, close release unslot")])
    status = notices.status(run, RUN_ID, 60)
    assert status.isprintable()
    assert "MAINPID" in status


def test_a_skip_is_ready_before_it_stops() -> None:
    """Also while a slow store takes in its record; a stop while waiting never is."""
    skipped = play({}, SKIPPED[:-1])
    assert notices.is_ready(skipped)
    assert not notices.is_over(skipped)
    stopped = play(
        {"wait": None}, [*IN_QUEUE, (50, TERM, "say stopped_early, close release unslot")]
    )
    assert not notices.is_ready(stopped)


def test_between_two_attempts_nothing_stops() -> None:
    """What the first left behind is stopped, and the run goes on."""
    left = ev.Exited(3 << 8, 1)
    run = play({"retries": 1}, [*UP, (100, left, "say stragglers, signal 15")])
    assert not notices.is_stopping(run)
    assert notices.patience(run, 100) == 25_000
    assert notices.status(run, RUN_ID, 100).startswith("stopping: KILL follows in 10s")
