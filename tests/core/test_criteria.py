"""Stories of runs that count as failed, or as a success, against their exit status; and warnings.

Moments and words are those of test_machine.py: the command runs from 20 on.
"""

from __future__ import annotations

from typing import Any

import pytest

from cronguard.core import events as ev
from cronguard.core import record as rec
from tests.core.test_machine import (
    CLOSED,
    DEAD,
    FAILED,
    KILLED,
    SPAWNED,
    TERM,
    TICK,
    UP,
    WELL,
    Step,
    ends,
    play,
)

ERROR = "its output matches ERROR"


def exited(status: int, left: int = 0, said: str = "") -> ev.Exited:
    event = ev.Exited(status << 8, left)
    event.said = said
    return event


def dead(said: str) -> ev.TreeDead:
    event = ev.TreeDead()
    event.said = said
    return event


TOLD = "say counts_as_failed, disarm, close release"
QUICK = "it ended after 480ms, sooner than 1s (--min-runtime)"
STORIES: list[tuple[str, dict[str, Any], list[Step], dict[str, Any]]] = [
    ("another status is a success, and stays what it is", {"success_exit_status": (0, 3)}, [
        *UP,
        (900, FAILED, "disarm, close release"),
        (910, CLOSED, "exit 3"),
    ], ends(rec.SUCCEEDED, 3)),
    ("a status that is not listed is a failure as ever", {"success_exit_status": (0, 2)}, [
        *UP,
        (900, FAILED, "disarm, close release"),
    ], ends(rec.FAILED, 3)),
    ("0 is a failure where it is not listed", {"success_exit_status": (2, 3)}, [
        *UP,
        (900, WELL, TOLD),
        (910, CLOSED, "exit 123"),
    ], ends(rec.FAILED, 123, "status 0 is not one of 2, 3 (--success-exit-status)")),
    ("a death by signal is listed as 128 + N", {"success_exit_status": (0, 137)}, [
        *UP,
        (900, KILLED, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 137)),
    ("what it said makes it a failure", {}, [
        *UP,
        (900, exited(0, said=ERROR), TOLD),
        (910, CLOSED, "exit 123"),
    ], ends(rec.FAILED, 123, ERROR)),
    ("also where another status is a success, which stays", {"success_exit_status": (0, 2)}, [
        *UP,
        (900, exited(2, said=ERROR), TOLD),
        (910, CLOSED, "exit 2"),
    ], ends(rec.FAILED, 2, ERROR)),
    ("a status that is a failure says more than the output", {}, [
        *UP,
        (900, exited(3, said=ERROR), "disarm, close release"),
    ], ends(rec.FAILED, 3)),
    ("what its last processes say counts, where they are waited for", {"stragglers": "wait"}, [
        *UP,
        (900, exited(0, left=1), ""),
        (1_000, dead(ERROR), TOLD),
    ], ends(rec.FAILED, 123, ERROR)),
    ("what they say while they are stopped does not", {}, [
        *UP,
        (900, exited(0, left=1), "say stragglers, signal 15"),
        (1_000, dead(ERROR), "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("too fast is a failure", {"min_runtime": 1_000}, [
        *UP,
        (500, WELL, TOLD),
    ], ends(rec.FAILED, 123, QUICK)),
    ("just slow enough is none", {"min_runtime": 1_000}, [
        *UP,
        (1_020, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("the command's own time counts, not what it leaves", {
        "min_runtime": 1_000, "stragglers": "wait",
    }, [
        *UP,
        (500, exited(0, left=1), ""),
        (3_000, DEAD, TOLD),
    ], ends(rec.FAILED, 123, QUICK)),
    ("each attempt is judged by itself", {"min_runtime": 1_000, "retries": 1}, [
        *UP,
        (500, WELL, "rest, say attempt_failed"),
        (5_000, TICK, "renew"),
        (5_050, ev.Renewed(5_000, 0, None), "arm 31998"),
        (10_500, TICK, "renew, spawn"),
        (10_510, SPAWNED, ""),
        (12_000, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("the last one's fault is the run's", {"retries": 1, "retry_delay": 1}, [
        *UP,
        (900, exited(0, said=ERROR), "rest, say attempt_failed"),
        (901, TICK, "spawn"),
        (910, SPAWNED, ""),
        (950, exited(0, said="it wrote to stderr"), "say attempts_failed, disarm, close release"),
    ], ends(rec.FAILED, 123, "it wrote to stderr")),
    ("a run that was stopped is stopped, whatever it said", {}, [
        *UP,
        (900, TERM, "signal 15"),
        (950, exited(0, said=ERROR), "disarm, close release"),
    ], ends(rec.STOPPED, 143, "signal")),
    # -- warnings ---------------------------------------------------------------------------------
    ("a run that lasts is warned of, each time again", {"warn_after": 2_000}, [
        *UP,
        (2_019, TICK, ""),
        (2_020, TICK, "warn still_running"),
        (2_021, TICK, ""),
        (4_020, TICK, "warn still_running"),
        (4_100, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("once for all that was missed", {"warn_after": 500}, [
        *UP,
        (4_019, TICK, "warn still_running"),
        (4_020, TICK, "warn still_running"),
        (4_021, TICK, ""),
    ], {}),
    ("in a pause as well", {"warn_after": 2_000, "retries": 1}, [
        *UP,
        (900, FAILED, "rest, say attempt_failed"),
        (2_020, TICK, "warn still_running"),
    ], {}),
    ("and of who is waited for", {"warn_after": 2_000, "stragglers": "wait"}, [
        *UP,
        (900, exited(0, left=1), ""),
        (2_020, TICK, "warn still_running"),
    ], {}),
    ("not while it is stopped", {"warn_after": 2_000, "timeout": 1_000}, [
        *UP,
        (1_020, TICK, "signal 15, say timed_out"),
        (2_020, TICK, ""),
    ], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "steps", "end"), [story[1:] for story in STORIES], ids=[story[0] for story in STORIES]
)
def test_stories(spec: dict[str, Any], steps: list[Step], end: dict[str, Any]) -> None:
    """Each run does at each moment what is said, and ends so."""
    run = play(spec, steps)
    assert {name: getattr(run, name) for name in end} == end


def test_it_wakes_up_to_warn() -> None:
    """Nobody else would."""
    assert play({"warn_after": 2_000}, UP).wake_at() == 2_020
