"""Stories of runs that are to be tried again: what happens at which moment, and what is done.

Moments and words are those of test_machine.py. The pause after the first attempt is 10,000.
"""

from __future__ import annotations

from typing import Any

import pytest

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import record as rec
from cronguard.core.attempts import LONGEST_PAUSE_MS, OOM_KILLED, pause_after
from tests.core.test_machine import (
    CLOSED,
    DEAD,
    FAILED,
    GRANT,
    INT,
    KILLED,
    NEXT,
    NO_RENEW,
    SPAWNED,
    STOP,
    TERM,
    TICK,
    UP,
    USR1,
    WELL,
    Step,
    ends,
    play,
)

TWICE = {"retries": 1}
LEFT = ev.Exited(3 << 8, 1)
GUARDIAN = ev.GuardianDied()
RESTING: list[Step] = [*UP, (100, FAILED, "rest, say attempt_failed")]
RENEWED: list[Step] = [
    *RESTING,
    (5_000, TICK, "renew"),
    (5_050, ev.Renewed(5_000, 0, None), "arm 31998"),
]
AGAIN: list[Step] = [*RENEWED, (10_100, TICK, "renew, spawn"), (10_110, SPAWNED, "")]
UNARMED: list[Step] = [UP[0], (10, GRANT, "spawn"), UP[2]]
"""With --on-lease-lost continue no kernel timer is set."""
LEAVING: list[Step] = [*UP, (100, LEFT, "say stragglers, signal 15")]

STORIES: list[tuple[str, dict[str, Any], list[Step], dict[str, Any]]] = [
    ("the second attempt succeeds", TWICE, [
        *AGAIN,
        (10_500, WELL, "disarm, close release"),
        (10_510, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("the last attempt's status is the run's", TWICE, [
        *AGAIN,
        (10_500, KILLED, "say attempts_failed, disarm, close release"),
        (10_510, CLOSED, "exit 137"),
    ], ends(rec.FAILED, 137)),
    ("nothing is tried again after a success", TWICE, [
        *UP,
        (100, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("nor without the option", {}, [
        *UP,
        (100, FAILED, "disarm, close release"),
    ], ends(rec.FAILED, 3)),
    ("nor what was not found", TWICE, [
        *UP[:2],
        (20, ev.NotSpawned(127, "not found"), "say not_started, disarm, close release unslot"),
    ], ends(rec.NOT_STARTED, 127, "not found")),
    ("the pause is doubled", {"retries": 2, "retry_delay": 1_000}, [
        *UP,
        (100, FAILED, "rest, say attempt_failed"),
        (1_100, TICK, "spawn"),
        (1_110, SPAWNED, ""),
        (1_200, KILLED, "rest, say attempt_failed"),
        (3_199, TICK, ""),
        (3_200, TICK, "spawn"),
    ], {"attempt": 3, "outcome": None}),
    ("P1: a command that is gone by the second attempt has used its slot", TWICE, [
        *AGAIN[:-1],
        (10_110, ev.NotSpawned(127, "gone"), "say not_started_again, disarm, close release"),
        (10_120, CLOSED, "exit 127"),
    ], ends(rec.FAILED, 127, "attempt 2 could not be started: gone")),
    ("what an attempt left behind is stopped before the next", TWICE, [
        *LEAVING,
        (200, DEAD, "rest, say attempt_failed"),
        (10_199, TICK, "renew"),
        (10_200, TICK, "spawn"),
    ], {"attempt": 2, "stragglers": 1}),
    ("P7: killed, if need be", TWICE, [
        *LEAVING,
        (5_000, TICK, "renew"),
        (5_001, ev.Renewed(5_000, 0, None), "arm 31998"),
        (10_100, TICK, "renew, kill"),
        (10_200, DEAD, "rest, say attempt_failed"),
    ], {"phase": "resting"}),
    ("P7: or waited for, and the pause begins then", {"retries": 1, "stragglers": "wait"}, [
        *UP,
        (100, LEFT, ""),
        (900, DEAD, "rest, say attempt_failed"),
    ], {"phase": "resting", "_rest_until": 10_900}),
    ("with leave there is no other attempt", {"retries": 1, "stragglers": "leave"}, [
        *UP,
        (100, LEFT, "leave"),
        (110, DEAD, "say attempts_failed, disarm, close release"),
    ], ends(rec.FAILED, 3)),
    ("the last attempt's stragglers are stopped as ever", TWICE, [
        *AGAIN,
        (10_500, LEFT, "say stragglers, signal 15"),
        (10_600, TERM, "forward 15"),
        (10_700, DEAD, "say attempts_failed, disarm, close release"),
    ], ends(rec.FAILED, 3)),
    # -- what ends it instead ---------------------------------------------------------------------
    ("P3: a signal in the pause ends it at once", TWICE, [
        *RENEWED,
        (6_000, INT, "say stopped_resting, disarm, close release"),
        (6_010, CLOSED, "exit 130"),
    ], ends(rec.STOPPED, 130, "signal") | {"child_signal": None, "signal": 2}),
    ("others are for a command that does not run", TWICE, [
        *RENEWED,
        (6_000, USR1, ""),
    ], {"phase": "resting"}),
    ("somebody stops it in the pause", TWICE, [
        *RENEWED,
        (6_000, STOP, "say stopped_resting, disarm, close release"),
        (6_010, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("a newer run takes its place in the pause", TWICE, [
        *RENEWED,
        (6_000, ev.StopAsked("replaced by web-9, pid 1"),
         "say stopped_resting, disarm, close release"),
    ], ends(rec.STOPPED, 143, "replaced")),
    ("or while an attempt is cleared away", TWICE, [
        *LEAVING,
        (150, ev.StopAsked("replaced by web-9, pid 1"), "say stop_asked"),
        (200, DEAD, "disarm, close release"),
    ], ends(rec.STOPPED, 143, "replaced")),
    ("a stop that the heartbeat tells of counts in the pause", TWICE, [
        *RESTING,
        (5_000, TICK, "renew"),
        (5_050, ev.Renewed(5_000, 0, "ann@desk"),
         "arm 31998, say stopped_resting, disarm, close release"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("P3: a signal while stragglers are stopped is no reason to go on", TWICE, [
        *LEAVING,
        (150, TERM, "forward 15"),
        (200, DEAD, "disarm, close release"),
        (210, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P4: nor while they are killed", TWICE, [
        *LEAVING,
        (10_100, TICK, "renew, kill"),
        (10_150, INT, ""),
        (10_200, DEAD, "disarm, close release"),
    ], ends(rec.STOPPED, 130, "signal")),
    ("nor is a request", TWICE, [
        *LEAVING,
        (150, STOP, "say stop_asked"),
        (160, STOP, ""),
        (200, DEAD, "disarm, close release"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("P3: a signal while the second attempt starts is delivered to it", TWICE, [
        *AGAIN[:-1],
        (10_105, TERM, ""),
        (10_110, SPAWNED, "signal 15"),
        (10_200, ev.Exited(15, 0), "disarm, close release"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P3: and one that the first attempt had is not delivered twice", TWICE, [
        *UP[:2],
        (15, USR1, ""),
        (20, SPAWNED, "watch, forward 10"),
        (100, FAILED, "rest, say attempt_failed"),
        (10_100, TICK, "renew, spawn"),
        (10_110, SPAWNED, ""),
    ], {"attempt": 2}),
    ("a death by a signal that was passed on is nobody's failure", TWICE, [
        *UP,
        (50, USR1, "forward 10"),
        (100, ev.Exited(10, 0), "say attempts_failed, disarm, close release"),
    ], ends(rec.FAILED, 138)),
    ("P6: the timeout is for all attempts together", {"retries": 1, "timeout": 15_000}, [
        *AGAIN,
        (15_020, TICK, "signal 15, say timed_out"),
        (15_100, ev.Exited(15, 0), "disarm, close release"),
        (15_110, CLOSED, "exit 124"),
    ], ends(rec.TIMED_OUT, 124)),
    ("what could not begin before the timeout is not waited for",
     {"retries": 1, "timeout": 10_080}, [
        *UP,
        (100, FAILED, "say attempts_failed, disarm, close release"),
        (110, CLOSED, "exit 3"),
    ], ends(rec.FAILED, 3)),
    ("nor begun by a keeper that comes too late", {"retries": 1, "timeout": 12_000}, [
        *RENEWED,
        (12_020, TICK, "renew, say attempts_failed, disarm, close release"),
    ], ends(rec.FAILED, 3)),
    # -- the lease --------------------------------------------------------------------------------
    ("L7: taken in the pause: nothing to kill, nothing to give back", TWICE, [
        *RENEWED,
        (6_000, ev.Taken(NEXT), "say lost_resting, disarm, close"),
        (6_010, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "taken") | {"holder": NEXT}),
    ("L4: not renewed in the pause: given back, as it may be ours",
     {**TWICE, "retry_delay": 60_000}, [
        *UP,
        (100, FAILED, "rest, say attempt_failed"),
        (5_000, TICK, "renew"),
        (7_000, NO_RENEW, "say renew_failing"),
        (7_200, TICK, "renew"),
        (21_498, TICK, "say lost_resting, disarm, close release"),
        (21_510, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L18: woken after the lease's end, it gives nothing back", TWICE, [
        *RENEWED,
        (60_000, TICK, "say lost_resting, disarm, close"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("--on-lease-lost continue is not for a pause", {**TWICE, "on_lease_lost": "continue"}, [
        *UNARMED,
        (100, FAILED, "rest, say attempt_failed"),
        (6_000, ev.Taken(NEXT), "say lost_resting, disarm, close"),
    ], ends(rec.LEASE_LOST, 121, "taken")),
    ("nor is there an attempt without a lease", {**TWICE, "on_lease_lost": "continue"}, [
        *UNARMED,
        (100, ev.Taken(NEXT), "say taken_continuing"),
        (200, FAILED, "say attempts_failed, disarm, close"),
    ], ends(rec.FAILED, 3)),
    ("L6: a lease that vanishes in the pause is taken again", TWICE, [
        *RESTING,
        (5_000, TICK, "renew"),
        (5_050, ev.Gone(5_000), "reclaim"),
        (5_100, ev.Renewed(5_050, 0, None), "say reclaimed, arm 32048"),
        (10_100, TICK, "renew, spawn"),
    ], {"attempt": 2}),
    ("R1: unguarded as before", {**TWICE, "on_store_error": "run"}, [
        *UP[:1],
        (5_000, TICK, "say store_unguarded, spawn"),
        (5_010, SPAWNED, ""),
        (6_000, FAILED, "rest, say attempt_failed"),
        (16_000, TICK, "spawn"),
        (16_010, SPAWNED, ""),
        (17_000, FAILED, "say attempts_failed, spool, exit 3"),
    ], ends(rec.FAILED, 3, "unguarded")),
    # -- the guardian -----------------------------------------------------------------------------
    ("P14: without a guardian there is no other attempt", TWICE, [
        *RENEWED,
        (6_000, GUARDIAN, "say guardian_died_resting, disarm, close release"),
        (6_010, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "guardian_killed")),
    ("P14: one that dies while it stops stragglers", TWICE, [
        *LEAVING,
        (150, GUARDIAN, "say guardian_died, kill"),
        (200, DEAD, "disarm, close release"),
        (210, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "guardian_killed")),
    ("what is told twice counts once", TWICE, [
        *RESTING,
        (101, DEAD, ""),
        (102, FAILED, ""),
        (103, SPAWNED, ""),
    ], {"phase": "resting", "attempt": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "steps", "end"), [story[1:] for story in STORIES], ids=[story[0] for story in STORIES]
)
def test_the_story_goes_as_told(
    spec: dict[str, Any], steps: list[Step], end: dict[str, Any]
) -> None:
    """Each attempt, pause and end as it should be."""
    run = play(spec, steps)
    assert {name: getattr(run, name) for name in end} == end


def test_what_an_attempt_left_behind_is_no_stop_of_the_run() -> None:
    """It is forgotten with the attempt: also where the run is stopped in the pause after it."""
    steps: list[Step] = [*LEAVING, (200, DEAD, "rest, say attempt_failed")]
    assert play(TWICE, LEAVING).stopping_at == 100
    assert play(TWICE, steps).stopping_at is None
    stopped: list[Step] = [*steps, (300, TERM, "say stopped_resting, disarm, close release")]
    assert play(TWICE, stopped).stopping_at is None


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_death_for_want_of_memory_is_said_with_the_limit_at_fault(
    is_own: bool, retries: int
) -> None:
    """No guessing: that of --memory-max, and none where others had the memory; of the last try."""
    died = ev.Exited(9, 0, OOM_KILLED)
    died.is_own_limit = is_own
    before: list[Step] = AGAIN if retries else UP
    run = play({"retries": retries, "memory_max": 64}, before)
    said = [one for one in run.step(died, 10_500) if isinstance(one, do.Say)]
    [oom] = [one for one in said if one.topic == "oom_killed"]
    assert oom.facts["limit"] == (64 if is_own else 0)
    assert (run.outcome, run.exit_status, run.reason) == (rec.FAILED, 137, OOM_KILLED)


def test_pauses_are_doubled_up_to_ten_minutes_or_the_first() -> None:
    """Exponential, and bounded: a pause of days would hold the lock for nothing."""
    assert [pause_after(n, 10_000) for n in range(1, 9)] == [
        *(10_000, 20_000, 40_000, 80_000, 160_000, 320_000),
        *(LONGEST_PAUSE_MS, LONGEST_PAUSE_MS),
    ]
    assert [pause_after(n, 3_600_000) for n in (1, 2, 99)] == [3_600_000] * 3
    assert [pause_after(n, 0) for n in (1, 50)] == [0, 0]
    assert pause_after(99, 1) == LONGEST_PAUSE_MS


def test_each_attempt_is_on_record() -> None:
    """Nothing lost: when each began and ended, and how."""
    run = play(TWICE, [*AGAIN, (10_500, KILLED, "say attempts_failed, disarm, close release")])
    seen = [(a.number, a.started_at, a.ended_at, a.exit_status, a.signal) for a in run.attempts]
    assert seen == [(1, 20, 100, 3, None), (2, 10_110, 10_500, 137, 9)]
    assert (run.started_at, run.ended_at) == (20, 10_500)


def test_attempts_that_did_not_end_by_themselves_are_on_record() -> None:
    """One that could not be started, and one whose end nobody saw."""
    gone = play(TWICE, [
        *AGAIN[:-1],
        (10_110, ev.NotSpawned(127, "gone"), "say not_started_again, disarm, close release"),
    ])  # fmt: skip
    assert (gone.attempts[1].started_at, gone.attempts[1].exit_status) == (None, 127)
    lost = play(TWICE, [
        *AGAIN,
        (10_200, GUARDIAN, "say guardian_died, kill"),
        (10_300, DEAD, "disarm, close release"),
    ])  # fmt: skip
    assert [one.exit_status for one in lost.attempts] == [3, None]


@pytest.mark.parametrize(("steps", "due"), [(RESTING, 5_000), (RENEWED, 10_000)])
def test_it_wakes_in_the_pause_for_heartbeats(steps: list[Step], due: int) -> None:
    """No miss: the lease is renewed while nothing runs."""
    at = play(TWICE, steps).wake_at()
    assert at is not None
    assert due - 500 <= at <= due
