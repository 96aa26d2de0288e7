"""Stories of one run each: what happens at which moment, and what the machine wants done.

A moment is ms since the run began. Requests are answered from when they were sent: GRANT is sent at
0, so with the TTL of 30 s the run gives up at 21,498, is killed at 26,998, and the lease ends at
28,498. Chance is fixed: the first heartbeat is due between 4,500 and 5,000.
"""

from __future__ import annotations

from typing import Any

import pytest

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core import record as rec
from cronguard.core.ending import CLOSING_MS
from cronguard.core.lease import LeaseTimes
from cronguard.core.machine import Run
from cronguard.core.spec import JobSpec, Owner

OTHER = Owner("b" * 32, host="web-3", pid=7)
NEXT = Owner("c" * 32, host="web-4", pid=8)
BEGIN = ev.Begin()
GRANT = ev.Granted(0, 5, 0, 0)
SPAWNED = ev.Spawned(4711)
TICK = ev.Tick()
CLOSED = ev.Closed()
HELD = ev.Held(0, OTHER, 20_000)
DEAD_HELD = ev.Held(0, OTHER, 20_000, gone=True)
QUEUED = ev.Queued(0, OTHER, 20_000, 1)
TERM, INT, USR1 = ev.Signalled(15), ev.Signalled(2), ev.Signalled(10)
STOP = ev.StopAsked("ann@desk")
WELL, FAILED, KILLED = ev.Exited(0, 0), ev.Exited(3 << 8, 0), ev.Exited(9, 0)
LEFT_ONE = ev.Exited(0, 1)
DEAD = ev.TreeDead()
NO_STORE = ev.Unavailable("acquire", "connection refused")
NO_RENEW = ev.Unavailable("renew", "timed out after 2s")
NO_CLOSE = ev.Unavailable("release", "timed out after 2s")
DENIED = ev.Denied("the password is wrong")

Step = tuple[int, ev.Event, str]


def dead_user() -> ev.Refused:
    """The slot was used by a run whose tree is proven dead on this host."""
    refused = ev.Refused("slot_done", "", OTHER, 7_000)
    refused.gone = True
    return refused


ASKING: list[Step] = [(0, BEGIN, "acquire")]
SPAWNING: list[Step] = [*ASKING, (10, GRANT, "arm 26998, spawn")]
UP: list[Step] = [*SPAWNING, (20, SPAWNED, "watch")]
IN_QUEUE: list[Step] = [*ASKING, (5, QUEUED, "watch, say queued")]
LINGERING: list[Step] = [*UP, (100, LEFT_ONE, "")]
GIVEN_UP: list[Step] = [
    *UP,
    (5_000, TICK, "renew"),
    (7_000, NO_RENEW, "say renew_failing"),
    (7_200, TICK, "renew"),
    (9_200, NO_RENEW, ""),
    (21_498, TICK, "signal 15, say lost_unrenewed, renew"),
]


def brief(action: do.Action) -> str:
    """Return an action in a word or two."""
    match action:
        case do.Acquire(evict=evict):
            return f"acquire evicting {evict[:1]}" if evict else "acquire"
        case do.Close(release=release, forget_slot=forget):
            return "close" + (" release" if release else "") + (" unslot" if forget else "")
        case do.Arm(at=at):
            return f"arm {at}"
        case do.Say(topic=topic):
            return f"say {topic}"
        case do.Warn(topic=topic):
            return f"warn {topic}"
        case do.Exit(status=status):
            return f"exit {status}"
        case do.Signal() | do.Forward() | do.Suspend():
            return f"{type(action).__name__.lower()} {action.signum}"
        case _:
            return type(action).__name__.lower()


def play(spec: dict[str, Any], steps: list[Step]) -> Run:
    """Let the story happen to a run; each step must want exactly what it says."""
    settings: dict[str, Any] = {"name": "job", "command": ["x"], "store": "s", **spec}
    run = Run(JobSpec(**settings), LeaseTimes(settings.get("ttl", 30_000)), seed=1)
    for now, event, wanted in steps:
        did = ", ".join(brief(action) for action in run.step(event, now))
        assert did == wanted, f"{type(event).__name__} at {now} in {run.phase}: {did}"
    return run


def ends(outcome: str, status: int, reason: str = "") -> dict[str, Any]:
    return {"outcome": outcome, "exit_status": status, "reason": reason}


# Name; what the spec says; the story; how it ended, where it did.
STORIES: list[tuple[str, dict[str, Any], list[Step], dict[str, Any]]] = [
    # -- the plain life of a run ------------------------------------------------------------------
    ("success", {}, [
        *UP,
        (900, WELL, "disarm, close release"),
        (910, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("failure keeps the status of the command", {}, [
        *UP,
        (900, FAILED, "disarm, close release"),
        (910, CLOSED, "exit 3"),
    ], ends(rec.FAILED, 3)),
    ("a death by signal is 128+N", {}, [
        *UP,
        (900, KILLED, "disarm, close release"),
        (910, CLOSED, "exit 137"),
    ], ends(rec.FAILED, 137)),
    ("heartbeats go on, each counted from its sending", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_100, ev.Renewed(5_000, 0, None), "arm 31998"),
        (10_000, TICK, "renew"),
        (11_900, ev.Renewed(10_000, 0, None), "arm 36998"),
        (12_000, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("P1: a command that is not found gives lock and slot back", {}, [
        *SPAWNING,
        (20, ev.NotSpawned(127, "x was not found"),
         "say not_started, disarm, close release unslot"),
        (30, CLOSED, "exit 127"),
    ], ends(rec.NOT_STARTED, 127, "x was not found")),
    ("the child vanished: cronguard's own failure, and said so", {}, [
        *UP,
        (900, DEAD, "disarm, close release"),
        (910, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "child_lost")),
    # -- skips ------------------------------------------------------------------------------------
    ("L1: held by another", {}, [
        *ASKING,
        (5, HELD, "say skipped, close unslot"),
        (9, CLOSED, "exit 0"),
    ], ends(rec.SKIPPED, 0, "held")),
    ("L1: the status of a skip is the user's", {"skip_exit_code": 75}, [
        *ASKING,
        (5, HELD, "say skipped, close unslot"),
        (9, CLOSED, "exit 75"),
    ], ends(rec.SKIPPED, 75, "held")),
    ("L13: the slot is done", {}, [
        *ASKING,
        (5, ev.Refused("slot_done", ""), "say skipped, close unslot"),
        (9, CLOSED, "exit 0"),
    ], ends(rec.SKIPPED, 0, "slot_done")),
    ("L12, L13: who used the slot is dead", {}, [
        *ASKING,
        (5, dead_user(), "acquire evicting b"),
        (9, ev.Granted(6, 5, 0, 0, 7_000), "arm 27004, spawn"),
    ], {"slot": 7_000}),
    ("L13: the store's clock is far from ours, once", {}, [
        *ASKING,
        (5, ev.OffSchedule(7), "acquire"),
        (9, ev.OffSchedule(8), ""),
        (109, TICK, "acquire"),
    ], {"phase": "asking"}),
    ("a paused job", {}, [
        *ASKING,
        (5, ev.Refused("paused", "release 7"), "say skipped, close unslot"),
        (9, CLOSED, "exit 0"),
    ], ends(rec.SKIPPED, 0, "paused")),
    ("L22: other settings elsewhere", {}, [
        *ASKING,
        (5, ev.Refused("conflict", "px"), "say conflict, close"),
        (9, CLOSED, "exit 125"),
    ], ends(rec.NOT_STARTED, 125, "conflict")),
    ("H10: a dead man's timer that is required and refused", {"dead_man": "required"}, [
        (0, ev.Refused("dead_man_required", "no"), "say dead_man_required, close"),
        (9, CLOSED, "exit 125"),
    ], ends(rec.NOT_STARTED, 125, "dead_man_required")),
    # -- a moment of chance -----------------------------------------------------------------------
    ("a random time passes before the first request", {"jitter": 60_000, "wait": 1_000}, [
        (0, BEGIN, ""),
        (60_000, TICK, "acquire"),
        (60_005, QUEUED, "watch, say queued"),
    ], {"phase": "waiting", "begun_at": 0}),
    ("a signal ends it before anything was asked", {"jitter": 60_000}, [
        (0, BEGIN, ""),
        (1, TERM, "say stopped_early, close release unslot"),
        (9, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    # -- the queue --------------------------------------------------------------------------------
    ("L15: wait, be woken, get it", {"wait": 60_000}, [
        *IN_QUEUE,
        (400, ev.Woken(), "acquire"),
        (410, ev.Granted(400, 6, 0, 0), "arm 27398, spawn"),
        (420, SPAWNED, "watch"),
    ], {"outcome": None}),
    ("a wake-up while asking is not forgotten", {"wait": 60_000}, [
        *IN_QUEUE,
        (400, ev.Woken(), "acquire"),
        (401, ev.Woken(), ""),
        (402, QUEUED, "acquire"),
        (403, QUEUED, ""),
    ], {"outcome": None}),
    ("a waiter asks again by itself, which keeps its place", {"wait": None}, [
        *IN_QUEUE,
        (500, TICK, ""),
        (1_005, TICK, "acquire"),
        (1_010, QUEUED, ""),
        (2_010, TICK, "acquire"),
    ], {"outcome": None}),
    ("the wait ends, and the place in the queue is given back", {"wait": 3_000}, [
        *IN_QUEUE,
        (3_000, TICK, "say skipped, close release unslot"),
        (3_010, CLOSED, "exit 0"),
    ], ends(rec.SKIPPED, 0, "wait_expired")),
    ("a grant that comes after the wait ended is not used", {"wait": 3_000}, [
        *IN_QUEUE,
        (2_990, TICK, "acquire"),
        (3_000, TICK, "say skipped, close release unslot"),
        (3_001, ev.Granted(2_990, 6, 0, 0), ""),
        (3_010, CLOSED, "exit 0"),
    ], ends(rec.SKIPPED, 0, "wait_expired")),
    ("a signal ends the wait", {"wait": None}, [
        *IN_QUEUE,
        (600, INT, "say stopped_early, close release unslot"),
        (610, CLOSED, "exit 130"),
    ], ends(rec.STOPPED, 130, "signal")),
    ("somebody stops a waiter", {"wait": None}, [
        *IN_QUEUE,
        (600, STOP, "say stopped_early, close release unslot"),
        (610, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("the store fails while waiting: the place may still be had", {"wait": None}, [
        *IN_QUEUE,
        (1_005, TICK, "acquire"),
        (1_100, NO_STORE, ""),
        (1_110, ev.Woken(), ""),
        (1_300, TICK, "acquire"),
        (1_310, QUEUED, ""),
    ], {"outcome": None}),
    # -- a holder that is proven dead -------------------------------------------------------------
    ("L17: a dead holder is evicted, once", {}, [
        *ASKING,
        (5, DEAD_HELD, "acquire evicting b"),
        (9, GRANT, "arm 26998, spawn"),
    ], {"outcome": None}),
    ("evicting in vain is not tried twice", {}, [
        *ASKING,
        (5, DEAD_HELD, "acquire evicting b"),
        (9, DEAD_HELD, "say skipped, close unslot"),
    ], ends(rec.SKIPPED, 0, "held")),
    ("another dead holder is another matter", {}, [
        *ASKING,
        (5, DEAD_HELD, "acquire evicting b"),
        (9, ev.Held(5, NEXT, 20_000, gone=True), "acquire evicting c"),
    ], {"outcome": None}),
    # -- the store at the start -------------------------------------------------------------------
    ("R1: tried again, until its time is up", {}, [
        *ASKING,
        (50, NO_STORE, ""),
        (150, TICK, "acquire"),
        (200, NO_STORE, ""),
        (400, TICK, "acquire"),
        (5_000, TICK, "say store_unavailable, spool, exit 122"),
    ], ends(rec.STORE_UNAVAILABLE, 122, "connection refused")),
    ("R1: an attempt that was cut short says less than the one before it", {}, [
        *ASKING,
        (50, NO_STORE, ""),
        (4_990, TICK, "acquire"),
        (5_000, ev.Unavailable("acquire", "no answer within 0.01s"),
         "say store_unavailable, spool, exit 122"),
    ], ends(rec.STORE_UNAVAILABLE, 122, "connection refused")),
    ("R2: no answer at all", {}, [
        *ASKING,
        (5_000, TICK, "say store_unavailable, spool, exit 122"),
    ], ends(rec.STORE_UNAVAILABLE, 122, "no answer within 5s")),
    ("R15: of replicas, nothing is asked that could not be given back", {"min_replicas": 1}, [
        *ASKING,
        (3_000, NO_STORE, ""),
        (3_200, TICK, "acquire"),
        (4_400, NO_STORE, ""),
        (4_700, TICK, ""),
        (5_000, TICK, "say store_unavailable, spool, exit 122"),
    ], ends(rec.STORE_UNAVAILABLE, 122, "connection refused")),
    ("R1: a store that comes back in time is used", {}, [
        *ASKING,
        (50, NO_STORE, ""),
        (150, TICK, "acquire"),
        (160, ev.Granted(150, 6, 0, 0), "arm 27148, spawn"),
    ], {"outcome": None}),
    ("R1: --on-store-error run", {"on_store_error": "run"}, [
        *ASKING,
        (5_000, TICK, "say store_unguarded, spawn"),
        (5_010, SPAWNED, ""),
        (6_000, FAILED, "spool, exit 3"),
    ], ends(rec.FAILED, 3, "unguarded")),
    ("R1: --on-store-error local", {"on_store_error": "local"}, [
        *ASKING,
        (5_000, TICK, "say store_local, uselocalstore, acquire"),
        (5_001, ev.Granted(5_000, 1, 0, 0), "arm 31998, spawn"),
        (5_010, SPAWNED, "watch"),
        (6_000, WELL, "disarm, close release"),
        (6_010, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("R1: the local store fails as well", {"on_store_error": "local"}, [
        *ASKING,
        (5_000, TICK, "say store_local, uselocalstore, acquire"),
        (5_001, NO_STORE, ""),
        (10_000, TICK, "say store_unavailable, spool, exit 122"),
    ], ends(rec.STORE_UNAVAILABLE, 122, "connection refused")),
    ("R12: refused for good is no question of time or policy", {"on_store_error": "run"}, [
        *ASKING,
        (5, DENIED, "say denied, spool, exit 125"),
    ], ends(rec.NOT_STARTED, 125, "store_denied")),
    ("a grant that was under way too long is extended before it is used", {}, [
        *ASKING,
        (21_498, GRANT, "acquire"),
        (21_600, ev.Granted(21_500, 5, 0, 0), "arm 48498, spawn"),
    ], {"outcome": None}),
    ("a late grant after a failed attempt is used", {}, [
        *ASKING,
        (50, NO_STORE, ""),
        (60, GRANT, "arm 26998, spawn"),
    ], {"outcome": None}),
    # -- signals ----------------------------------------------------------------------------------
    ("P3: TERM is passed on, and the run ends with 143", {}, [
        *UP,
        (500, TERM, "signal 15"),
        (600, ev.Exited(15, 0), "disarm, close release"),
        (610, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P3: the command may end well after TERM; the signal stays the reason", {}, [
        *UP,
        (500, INT, "signal 2"),
        (600, WELL, "disarm, close release"),
        (610, CLOSED, "exit 130"),
    ], ends(rec.STOPPED, 130, "signal")),
    ("P4, P5: a second TERM is passed on, and does not shorten or lengthen the grace", {}, [
        *UP,
        (500, TERM, "signal 15"),
        (900, TERM, "forward 15"),
        (5_000, TICK, "renew"),
        (5_100, ev.Renewed(5_000, 0, None), "arm 31998"),
        (10_300, TICK, "renew"),
        (10_310, ev.Renewed(10_300, 0, None), "arm 37298"),
        (10_500, TICK, "kill"),
        (10_510, KILLED, "disarm, close release"),
        (10_520, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("other signals are passed on and change nothing", {}, [
        *UP,
        (500, USR1, "forward 10"),
        (600, WELL, "disarm, close release"),
        (610, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("a signal while asking: a grant under way is given back", {}, [
        *ASKING,
        (5, TERM, "say stopped_early, close release unslot"),
        (6, GRANT, ""),
        (9, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("other signals before the lock change nothing", {}, [
        *ASKING,
        (5, USR1, ""),
        (10, GRANT, "arm 26998, spawn"),
    ], {"outcome": None}),
    ("a signal while starting is delivered after it", {}, [
        *SPAWNING,
        (15, TERM, ""),
        (16, USR1, ""),
        (20, SPAWNED, "watch, signal 15, forward 10"),
        (30, ev.Exited(15, 0), "disarm, close release"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("a stop request while starting is delivered after it", {}, [
        *SPAWNING,
        (15, STOP, ""),
        (20, SPAWNED, "watch, say stop_asked, signal 15"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("a signal while starting is no reason when it does not start", {}, [
        *SPAWNING,
        (15, TERM, ""),
        (20, ev.NotSpawned(126, "no"), "say not_started, disarm, close release unslot"),
    ], ends(rec.NOT_STARTED, 126, "no")),
    ("a stop request with the user's own polite signal", {"signal": 1, "kill_after": 1_000}, [
        *UP,
        (500, STOP, "say stop_asked, signal 1"),
        (600, STOP, ""),
        (1_499, TICK, ""),
        (1_500, TICK, "kill"),
        (1_510, DEAD, "disarm, close release"),
        (1_520, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("a stop request that comes with a heartbeat", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 0, "ann@desk"), "arm 31998, say stop_asked, signal 15"),
    ], ends(rec.STOPPED, 143, "by ann@desk")),
    ("P24: Ctrl-Z stops us as well, and is no end", {}, [
        *UP,
        (500, ev.Suspended(20), "say suspended, suspend 20"),
        (900, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("signals while killing or closing change nothing", {"kill_after": 0}, [
        *UP,
        (500, TERM, "signal 15"),
        (501, TICK, "kill"),
        (502, TERM, ""),
        (503, STOP, ""),
        (510, KILLED, "disarm, close release"),
        (511, TERM, ""),
        (520, CLOSED, "exit 143"),
        (521, TERM, ""),
    ], ends(rec.STOPPED, 143, "signal")),
    # -- the timeout ------------------------------------------------------------------------------
    ("P6: timed out, TERM was enough", {"timeout": 2_000}, [
        *UP,
        (2_019, TICK, ""),
        (2_020, TICK, "signal 15, say timed_out"),
        (2_100, ev.Exited(15, 0), "disarm, close release"),
        (2_110, CLOSED, "exit 124"),
    ], ends(rec.TIMED_OUT, 124)),
    ("P6: timed out, KILL was needed, and the lock was kept through the grace",
     {"timeout": 2_000, "kill_after": 4_000}, [
        *UP,
        (2_020, TICK, "signal 15, say timed_out"),
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 0, None), "arm 31998"),
        (6_019, TICK, ""),
        (6_020, TICK, "kill"),
        (6_030, KILLED, "disarm, close release"),
        (6_040, CLOSED, "exit 124"),
    ], ends(rec.TIMED_OUT, 124)),
    ("the first cause stands: a signal, then the timeout", {"timeout": 2_000}, [
        *UP,
        (1_990, TERM, "signal 15"),
        (2_020, TICK, ""),
        (2_500, ev.Exited(15, 0), "disarm, close release"),
        (2_510, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P11: what cannot be killed is said, and the lock is kept", {"kill_after": 0}, [
        *UP,
        (500, TERM, "signal 15"),
        (501, TICK, "kill"),
        (1_100, ev.Unkillable("pid 7 (state D)"), "say unkillable"),
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 0, None), "arm 31998"),
        (9_000, DEAD, "disarm, close release"),
    ], ends(rec.STOPPED, 143, "signal")),
    # -- the store's clock, and its connection ---------------------------------------------------
    ("L19, L20: a step of the store's clock is said, and the lease renewed twice as often", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 1_000_000, None), "arm 31998"),
        (10_000, TICK, "renew"),
        (10_010, ev.Renewed(10_000, 1_036_000, None), "say clock_stepped, arm 36998"),
        (12_500, TICK, "renew"),
        (12_510, ev.Renewed(12_500, 1_008_000, None), "say clock_stepped, arm 39498"),
        (15_000, TICK, "renew"),
        (15_010, ev.Renewed(15_000, 1_010_500, None), "arm 41998"),
        (15_020, ev.Exited(0, 0), "disarm, close release"),
    ], {}),
    ("R14, R21: when the connection broke, the lease is asked for at once", {}, [
        *UP,
        (1_000, ev.Woken(), ""),
        (1_250, TICK, "renew"),
        (1_251, ev.Woken(), ""),
        (1_260, ev.Gone(1_250), "reclaim"),
        (1_270, ev.Renewed(1_260, 0, None), "say reclaimed, arm 28258"),
        (1_300, ev.Exited(0, 0), "disarm, close release"),
    ], {}),
    ("R21: but not over and over while the store is away", {}, [
        *UP,
        (1_000, ev.Woken(), ""),
        (1_250, TICK, "renew"),
        (1_260, ev.Unavailable("renew", "refused"), "say renew_failing"),
        (1_261, ev.Woken(), ""),
        (1_290, TICK, ""),
        (1_360, TICK, "renew"),
    ], {}),
    # -- stragglers -------------------------------------------------------------------------------
    ("P7: what is left behind is stopped, and the lock is kept until it is dead", {}, [
        *UP,
        (900, LEFT_ONE, "say stragglers, signal 15"),
        (950, TERM, "forward 15"),
        (1_000, DEAD, "disarm, close release"),
        (1_010, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("P7: stragglers that ignore TERM get KILL after the grace", {"kill_after": 1_000}, [
        *UP,
        (900, LEFT_ONE, "say stragglers, signal 15"),
        (1_899, TICK, ""),
        (1_900, TICK, "kill"),
        (1_910, DEAD, "disarm, close release"),
        (1_920, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("P7: --stragglers wait keeps the lock as long as they live", {"stragglers": "wait"}, [
        *LINGERING,
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 0, None), "arm 31998"),
        (9_000, DEAD, "disarm, close release"),
        (9_010, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("P7: --stragglers wait, and the timeout holds for them too",
     {"stragglers": "wait", "timeout": 2_000}, [
        *LINGERING,
        (2_020, TICK, "signal 15, say timed_out"),
        (2_100, DEAD, "disarm, close release"),
        (2_110, CLOSED, "exit 124"),
    ], ends(rec.TIMED_OUT, 124)),
    ("P7: --stragglers wait, and a signal ends them", {"stragglers": "wait"}, [
        *LINGERING,
        (2_000, TERM, "signal 15"),
        (2_100, DEAD, "disarm, close release"),
        (2_110, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P7: --stragglers leave lets them go", {"stragglers": "leave"}, [
        *UP,
        (900, LEFT_ONE, "leave"),
        (901, DEAD, "disarm, close release"),
        (910, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("P7: the child ends while it is stopped and leaves some: the grace goes on", {}, [
        *UP,
        (500, TERM, "signal 15"),
        (600, ev.Exited(15, 2), ""),
        (5_000, TICK, "renew"),
        (5_010, ev.Renewed(5_000, 0, None), "arm 31998"),
        (10_300, TICK, "renew"),
        (10_310, ev.Renewed(10_300, 0, None), "arm 37298"),
        (10_500, TICK, "kill"),
        (10_510, DEAD, "disarm, close release"),
    ], ends(rec.STOPPED, 143, "signal")),
    # -- the lease while the command runs ---------------------------------------------------------
    ("L5: an outage that is over in time is one warning and one word that it is over", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (7_000, NO_RENEW, "say renew_failing"),
        (7_200, TICK, "renew"),
        (9_200, NO_RENEW, ""),
        (9_600, TICK, "renew"),
        (9_700, ev.Renewed(9_600, 0, None), "say recovered, arm 36598"),
        (9_800, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("L3: a renewal without an answer leaves the old end", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (21_497, TICK, ""),
        (21_498, TICK, "signal 15, say lost_unrenewed"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L4: given up at G, TERM, KILL after the short grace; dead in time, so the lock is given back",
     {"kill_after": 60_000}, [
        *GIVEN_UP,
        (23_500, NO_RENEW, ""),
        (26_498, TICK, "renew, kill"),
        (26_510, KILLED, "disarm, close release"),
        (26_520, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L9: dead only after the end of the lease: nothing is given back", {}, [
        *GIVEN_UP,
        (26_498, TICK, "kill"),
        (28_498, KILLED, "disarm, close"),
        (28_520, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L4: a renewal after giving up comes too late to save the run", {}, [
        *GIVEN_UP,
        (21_600, ev.Renewed(21_498, 0, None), "say recovered, arm 48496"),
        (22_000, ev.Exited(15, 0), "disarm, close release"),
        (22_010, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L4: while a signal's grace runs, the shorter grace counts", {"kill_after": 60_000}, [
        *UP,
        (5_000, TICK, "renew"),
        (20_000, TERM, "signal 15"),
        (21_498, TICK, "say lost_unrenewed"),
        (26_497, TICK, ""),
        (26_498, TICK, "kill"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("6: whatever it waits for, KILL comes at K", {"kill_after": 60_000}, [
        *UP,
        (5_000, TICK, "renew"),
        (26_998, TICK, "signal 15, say lost_unrenewed, kill"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    ("L6: the lock vanished, nobody had it: taken again, and said", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, ev.Gone(5_000), "reclaim"),
        (5_020, ev.Renewed(5_011, 0, None), "say reclaimed, arm 32009"),
        (6_000, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("L6: vanished, and the store does not answer: reclaimed, not renewed, later", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, ev.Gone(5_000), "reclaim"),
        (7_010, ev.Unavailable("reclaim", "timed out"), "say renew_failing"),
        (7_200, TICK, "reclaim"),
        (7_210, ev.Renewed(7_200, 0, None), "say reclaimed, arm 34198"),
    ], {"outcome": None}),
    ("L6: vanished, and the lease is over: lost for sure", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (28_498, ev.Gone(5_000), "kill, say taken"),
    ], ends(rec.LEASE_LOST, 121, "taken")),
    ("L7: taken by another: KILL at once, nothing is given back", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, ev.Taken(OTHER), "kill, say taken"),
        (5_011, ev.Renewed(5_000, 0, None), ""),
        (5_020, KILLED, "disarm, close"),
        (5_030, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "taken")),
    ("L7: taken while it is stopped: KILL at once, and the first cause stands", {}, [
        *UP,
        (500, TERM, "signal 15"),
        (5_000, TICK, "renew"),
        (5_010, ev.Taken(None), "kill, say taken"),
        (5_020, KILLED, "disarm, close"),
        (5_030, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("L7: taken while it starts: KILL, and what started then is killed as well", {}, [
        *SPAWNING,
        (15, ev.Taken(OTHER), "kill, say taken"),
        (20, SPAWNED, ""),
        (30, KILLED, "disarm, close"),
        (40, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "taken")),
    ("L7: taken while stragglers are waited for", {"stragglers": "wait"}, [
        *LINGERING,
        (5_000, TICK, "renew"),
        (5_010, ev.Taken(OTHER), "kill, say taken"),
        (5_020, DEAD, "disarm, close"),
        (5_030, CLOSED, "exit 121"),
    ], ends(rec.LEASE_LOST, 121, "taken")),
    ("--on-lease-lost continue: taken, and it goes on", {"on_lease_lost": "continue"}, [
        *ASKING,
        (10, GRANT, "spawn"),
        (20, SPAWNED, "watch"),
        (5_000, TICK, "renew"),
        (5_010, ev.Taken(OTHER), "say taken_continuing"),
        (40_000, TICK, ""),
        (60_000, FAILED, "disarm, close"),
        (60_010, CLOSED, "exit 3"),
    ], ends(rec.FAILED, 3)),
    ("--on-lease-lost continue: not renewed, said once, and tried on",
     {"on_lease_lost": "continue"}, [
        *ASKING,
        (10, GRANT, "spawn"),
        (20, SPAWNED, "watch"),
        (5_000, TICK, "renew"),
        (7_000, NO_RENEW, "say renew_failing"),
        (21_498, TICK, "say lost_continuing, renew"),
        (23_000, NO_RENEW, ""),
        (30_000, TICK, "renew"),
        (30_010, ev.Renewed(30_000, 0, None), "say recovered"),
        (31_000, WELL, "disarm, close release"),
    ], ends(rec.SUCCEEDED, 0)),
    ("R13: rights that are taken away are as an outage", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, DENIED, "say renew_failing"),
        (5_200, TICK, "renew"),
        (5_210, ev.Renewed(5_200, 0, None), "say recovered, arm 32198"),
    ], {"outcome": None}),
    ("--dead-man off: nothing is armed, and the rest is the same", {"dead_man": "off"}, [
        *ASKING,
        (10, GRANT, "spawn"),
        (20, SPAWNED, "watch"),
        (5_000, TICK, "renew"),
        (26_998, TICK, "signal 15, say lost_unrenewed, kill"),
    ], ends(rec.LEASE_LOST, 121, "not_renewed")),
    # -- the guardian dies ------------------------------------------------------------------------
    ("P14: the guardian dies while the lock is asked for: it may be ours, and is given back", {}, [
        *ASKING,
        (5, ev.GuardianDied(), "say guardian_died_early, close release unslot"),
        (9, GRANT, ""),
        (10, CLOSED, "exit 125"),
    ], ends(rec.NOT_STARTED, 125, "guardian_killed")),
    ("P14: the guardian dies while the run waits: it does not wait in vain", {"wait": None}, [
        *IN_QUEUE,
        (600, ev.GuardianDied(), "say guardian_died_early, close release unslot"),
        (610, CLOSED, "exit 125"),
    ], ends(rec.NOT_STARTED, 125, "guardian_killed")),
    ("P14: the guardian dies while the command starts", {}, [
        *SPAWNING,
        (15, ev.GuardianDied(), "say guardian_died, kill"),
        (20, DEAD, "disarm, close release"),
        (30, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "guardian_killed")),
    ("P14: the guardian dies while the command runs", {}, [
        *UP,
        (500, ev.GuardianDied(), "say guardian_died, kill"),
        (510, DEAD, "disarm, close release"),
        (520, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "guardian_killed")),
    ("P14: the guardian dies while the run is stopped", {}, [
        *UP,
        (400, TERM, "signal 15"),
        (500, ev.GuardianDied(), "say guardian_died, kill"),
        (510, DEAD, "disarm, close release"),
        (520, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P14: the guardian dies while it kills", {"kill_after": 0}, [
        *UP,
        (400, TERM, "signal 15"),
        (401, TICK, "kill"),
        (402, ev.GuardianDied(), "say guardian_died, kill"),
        (410, DEAD, "disarm, close release"),
        (420, CLOSED, "exit 143"),
    ], ends(rec.STOPPED, 143, "signal")),
    ("P14: the guardian dies while stragglers are waited for", {"stragglers": "wait"}, [
        *LINGERING,
        (500, ev.GuardianDied(), "say guardian_died, kill"),
        (510, DEAD, "disarm, close release"),
        (520, CLOSED, "exit 125"),
    ], ends(rec.FAILED, 125, "guardian_killed")),
    ("P14: the guardian dies while the end is stored: nothing is lost by it", {}, [
        *UP,
        (500, WELL, "disarm, close release"),
        (505, ev.GuardianDied(), ""),
        (510, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    # -- the end ----------------------------------------------------------------------------------
    ("L10: the end is tried again, then kept on this host; the status stands", {}, [
        *UP,
        (900, FAILED, "disarm, close release"),
        (1_000, NO_CLOSE, ""),
        (1_100, TICK, "close release"),
        (1_200, NO_CLOSE, ""),
        (1_400, TICK, "close release"),
        (900 + CLOSING_MS, TICK, "say not_closed, spool, exit 3"),
    ], ends(rec.FAILED, 3)),
    ("L10: an end that comes through at last", {}, [
        *UP,
        (900, WELL, "disarm, close release"),
        (1_000, NO_CLOSE, ""),
        (1_100, TICK, "close release"),
        (1_150, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("L10: the end is refused for good", {}, [
        *UP,
        (900, WELL, "disarm, close release"),
        (910, DENIED, "say not_closed, spool, exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("L11: an answer to a renewal under way does not disturb the end", {}, [
        *UP,
        (5_000, TICK, "renew"),
        (5_010, WELL, "disarm, close release"),
        (5_020, ev.Renewed(5_000, 0, None), ""),
        (5_030, NO_RENEW, ""),
        (5_040, ev.Gone(5_000), ""),
        (5_050, ev.Taken(OTHER), ""),
        (5_060, CLOSED, "exit 0"),
    ], ends(rec.SUCCEEDED, 0)),
    ("a skip whose end cannot be stored is still a skip", {"skip_exit_code": 75}, [
        *ASKING,
        (5, HELD, "say skipped, close unslot"),
        (5 + CLOSING_MS, TICK, "say not_closed, spool, exit 75"),
    ], ends(rec.SKIPPED, 75, "held")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "steps", "end"), [story[1:] for story in STORIES], ids=[story[0] for story in STORIES]
)
def test_the_story_goes_as_told(
    spec: dict[str, Any], steps: list[Step], end: dict[str, Any]
) -> None:
    """Each event at each moment leads to exactly these actions, and the run ends so."""
    run = play(spec, steps)
    assert {name: getattr(run, name) for name in end} == end


def test_a_signal_before_the_beginning_is_heeded() -> None:
    """A signal that comes before the first request leads to no command either."""
    run = play({}, [(0, TERM, "say stopped_early, close release unslot"), (5, CLOSED, "exit 143")])
    assert run.outcome == rec.STOPPED


def test_the_record_knows_what_the_lease_went_through() -> None:
    """Nothing lost: renewals, failures, the longest gap, the token."""
    run = play({}, [*GIVEN_UP, (21_600, ev.Renewed(21_498, 0, None), "say recovered, arm 48496")])
    assert run.lease is not None
    facts = run.lease.token, run.lease.renewals, run.lease.renew_failures, run.lease.longest_gap
    assert facts == (5, 1, 2, 21_498)


def test_the_record_knows_the_child_and_what_it_left() -> None:
    """Nothing lost: started, ended, stragglers, the signal that ended the child."""
    run = play({}, [
        *UP,
        (900, ev.Exited(9, 2), "say stragglers, signal 15"),
        (950, DEAD, "disarm, close release"),
    ])  # fmt: skip
    assert (run.begun_at, run.started_at, run.ended_at) == (0, 20, 950)
    assert (run.stragglers, run.child_signal, run.exit_status) == (2, 9, 137)


@pytest.mark.parametrize(
    ("steps", "since"),
    [
        ([*UP, (900, WELL, "disarm, close release")], None),
        ([*UP, (900, TERM, "signal 15"), (950, DEAD, "disarm, close release")], 900),
        ([*UP, (900, TERM, "signal 15"), (960, INT, "forward 2")], 900),
        ([*UP, (5_010, ev.Taken(NEXT), "kill, say taken")], 5_010),
        ([*UP, (900, LEFT_ONE, "say stragglers, signal 15")], 900),
    ],
)
def test_the_record_knows_since_when_it_is_stopped(steps: list[Step], since: int | None) -> None:
    """The first signal, or the kill, whatever comes after it."""
    assert play({}, steps).stopping_at == since


def test_who_tells_of_the_run_knows_when_its_lock_was_given_back() -> None:
    """The store has said so; a skip has given nothing back."""
    over: list[Step] = [*UP, (900, WELL, "disarm, close release")]
    assert play({}, over).released_at is None
    assert play({}, [*over, (910, CLOSED, "exit 0")]).released_at == 910
    skipped = play({}, [*ASKING, (5, HELD, "say skipped, close unslot"), (9, CLOSED, "exit 0")])
    assert skipped.released_at is None
    early = play(
        {}, [(0, TERM, "say stopped_early, close release unslot"), (5, CLOSED, "exit 143")]
    )
    assert early.released_at is None


def test_the_holder_in_the_way_is_kept_for_the_record() -> None:
    """L1, L7: who had it."""
    assert play({}, [*ASKING, (5, HELD, "say skipped, close unslot")]).holder is OTHER
    run = play({}, [*UP, (5_010, ev.Taken(NEXT), "kill, say taken")])
    assert run.holder is NEXT


@pytest.mark.parametrize(
    ("spec", "steps", "latest"),
    [
        ({}, ASKING, 5_000),
        ({"wait": 3_000}, IN_QUEUE, 1_005),
        ({"wait": 500}, IN_QUEUE, 500),
        ({}, UP, 5_000),
        ({}, [*UP, (5_000, TICK, "renew")], 21_498),
        ({"timeout": 2_000}, UP, 2_020),
        ({"kill_after": 1_000}, [*UP, (500, TERM, "signal 15")], 1_500),
        ({}, GIVEN_UP, 26_498),
        ({"kill_after": 0}, [*UP, (900, WELL, "disarm, close release")], 3_900),
        ({}, [*UP, (900, WELL, "disarm, close release"), (1_000, NO_CLOSE, "")], 1_100),
    ],
)
def test_it_wakes_in_time_for_whatever_is_next(
    spec: dict[str, Any], steps: list[Step], latest: int
) -> None:
    """No drag and no miss: the loop sleeps until then, and not longer."""
    due = play(spec, steps).wake_at()
    assert due is not None
    assert steps[-1][0] < due <= latest


def test_a_run_that_is_over_waits_for_nothing() -> None:
    """And says nothing more, whatever comes."""
    run = play({}, [*UP, (900, WELL, "disarm, close release"), (910, CLOSED, "exit 0")])
    assert run.wake_at() is None
    for event in (TICK, TERM, STOP, GRANT, CLOSED, DEAD, WELL, ev.GuardianDied(), NO_CLOSE):
        assert run.step(event, 10**9) == []


def test_unguarded_nothing_but_the_command_and_the_clock_counts() -> None:
    """--on-store-error run: no lease, so no moments of a lease, and no request to a store."""
    run = play({"on_store_error": "run", "timeout": 1_000}, [
        *ASKING,
        (5_000, TICK, "say store_unguarded, spawn"),
        (5_010, SPAWNED, ""),
    ])  # fmt: skip
    assert run.wake_at() == 6_010
    assert [brief(action) for action in run.step(TICK, 6_010)] == ["signal 15", "say timed_out"]
    assert [brief(a) for a in run.step(WELL, 6_020)] == ["spool", "exit 124"]
