"""Random walks through the whole table: whatever comes in whatever order, the promises hold."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronguard.core import actions as do
from cronguard.core import events as ev
from cronguard.core.asking import STOP_SIGNALS
from cronguard.core.ending import DONE, KILLING, PHASES, WAITING
from cronguard.core.lease import LeaseTimes
from cronguard.core.machine import TABLE, Run
from cronguard.core.spec import REPLACED_BY, JobSpec, Owner

WALKS = 1_800
STEPS = 60  # 108,000 steps at the least
OTHER = Owner("b" * 32, host="other", pid=7)
HOLDING = ("spawning", "running", "stopping", "killing", "lingering", "resting")


def exited(dice: Random) -> ev.Exited:
    event = ev.Exited(dice.choice((0, 256, 512, 9, 15)), dice.randint(0, 2))
    event.said = dice.choice(("", "", "it wrote to stderr"))
    return event


def tree_dead(dice: Random) -> ev.TreeDead:
    event = ev.TreeDead()
    event.said = dice.choice(("", "", "its output matches"))
    return event


def draw_event(dice: Random, now: int) -> ev.Event:
    """Any event that there is, plausible or not; replies to requests sent up to 9 s ago."""
    sent = now - dice.choice((0, 1, 50, 2_000, 9_000))
    left = dice.randint(-5, 40_000)
    gone = dice.random() < 0.3
    return dice.choice(
        (
            ev.Granted(sent, dice.randint(1, 9), 0, 0),
            ev.OffSchedule(dice.randint(0, 1 << 41)),
            ev.Granted(now, dice.randint(1, 9), 0, 0),
            ev.Held(sent, OTHER, left, gone),
            ev.Queued(sent, OTHER, left, 1, gone),
            ev.Refused(dice.choice(("conflict", "slot_done", "paused")), "why"),
            ev.Renewed(sent, 0, dice.choice((None, None, None, "op@host"))),
            ev.Gone(sent),
            ev.Taken(dice.choice((None, OTHER))),
            ev.Closed(),
            ev.Unavailable(dice.choice(("acquire", "renew", "release")), "timed out"),
            ev.Denied("wrong password"),
            ev.Flawed("two are one"),
            ev.Woken(),
            ev.Spawned(4711),
            ev.Spawned(4711),
            ev.NotSpawned(127, "not found"),
            exited(dice),
            ev.Suspended(20),
            tree_dead(dice),
            ev.Unkillable("pid 1 (state D)"),
            ev.GuardianDied(),
            ev.Signalled(dice.choice((1, 2, 3, 10, 12, 15, 28))),
            ev.StopAsked(dice.choice(("op@host", f"{REPLACED_BY}web-9, pid 1"))),
            ev.Tick(),
        )
    )


specs = st.builds(
    JobSpec,
    name=st.just("job"),
    command=st.just(["true"]),
    store=st.just("x"),
    timeout=st.sampled_from((None, 1, 5_000, 60_000)),
    kill_after=st.sampled_from((0, 1_000, 10_000)),
    ttl=st.sampled_from((10_000, 30_000, 120_000)),
    wait=st.sampled_from((0, 0, 3_000, None)),
    replace=st.sampled_from((False, False, True)),
    on_store_error=st.sampled_from(("fail", "run", "local")),
    store_timeout=st.sampled_from((0, 2_000, 5_000)),
    on_lease_lost=st.sampled_from(("stop", "stop", "continue")),
    stragglers=st.sampled_from(("kill", "wait", "leave")),
    dead_man=st.sampled_from(("auto", "auto", "off")),
    retries=st.sampled_from((0, 0, 1, 3, 99)),
    retry_delay=st.sampled_from((0, 1, 1_000, 10_000, 900_000)),
    success_exit_status=st.sampled_from(((0,), (0,), (0, 2), (1,))),
    min_runtime=st.sampled_from((0, 0, 500, 60_000)),
    warn_after=st.sampled_from((None, None, 1, 700, 20_000)),
)


SEEN: dict[str, int] = {}


class Witness:
    """Watches one run from outside and knows the promises, not the machine."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.run = Run(spec, LeaseTimes(spec.ttl), seed=1)
        self.armed: int | None = None
        self.exited = self.tree_known_dead = self.stop_seen = False
        self.granted = self.taken = self.guardian_dead = self.was_at_stake = False
        self.spawned = 0
        self.last_status: int | None = None
        self.last_failed = False
        self.attempt_at = 0
        self.forwarded: set[int] = set()
        self.rests_since: int | None = None
        self.first_ran_at: int | None = None
        self.polite_at: int | None = None
        self.outcome: str | None = None

    def see(self, event: ev.Event, now: int) -> list[do.Action]:
        run = self.run
        before = run.phase
        SEEN[before] = SEEN.get(before, 0) + 1
        self.note(event, before)
        self.note_processes(event, now, heeded=TABLE[before][type(event)] is not Run._ignore)
        lease = run.lease
        if lease is not None and before in HOLDING and now >= lease.give_up_at:
            self.was_at_stake = True
        actions = run.step(event, now)
        for action in actions:
            self.check(action, now)
        self.check_state(now)
        if before == DONE:
            assert actions == []
            assert run.phase == DONE
        return actions

    def note(self, event: ev.Event, before: str) -> None:
        """Take in what happens to the lease, and who wants the run to stop."""
        match event:
            case ev.Granted():
                self.granted = True
            case ev.Taken() if before in HOLDING:
                self.taken = self.taken or self.run.lease is not None
            case ev.GuardianDied() if before in HOLDING:
                self.guardian_dead = True
            case ev.Signalled(signum=s) if s in STOP_SIGNALS and before != DONE:
                self.stop_seen = True
            case ev.GuardianDied() if before in (WAITING, "asking"):
                self.stop_seen = True  # nobody is left to start the command
            case ev.StopAsked() if before != DONE:
                self.stop_seen = True
            case ev.Renewed(stop_by=str()) if before in HOLDING and self.run.lease is not None:
                self.stop_seen = self.stop_seen or not self.taken

    def note_processes(self, event: ev.Event, now: int, *, heeded: bool) -> None:
        """Take in what becomes of the command, where the machine heeds it."""
        match event:
            case ev.Spawned() if heeded:
                self.attempt_at = now
                self.first_ran_at = now if self.first_ran_at is None else self.first_ran_at
            case ev.TreeDead() | ev.NotSpawned() if heeded:
                self.tree_known_dead = True
                self.last_failed = self.last_failed or bool(getattr(event, "said", ""))
            case ev.Exited() if heeded:
                self.last_status = event.status
                code = event.status >> 8 or (event.status and 128 + event.status)
                is_fast = now - self.attempt_at < self.spec.min_runtime
                self.last_failed = bool(event.said) or is_fast
                self.last_failed = self.last_failed or code not in self.spec.success_exit_status
                self.tree_known_dead = self.tree_known_dead or event.left == 0

    def check(self, action: do.Action, now: int) -> None:
        assert not self.exited, "an action after Exit"
        match action:
            case do.Exit():
                self.exited = True
                assert self.run.phase == DONE
                assert self.run.outcome is not None
                is_calm = self.run.outcome in ("succeeded", "skipped")
                assert is_calm or action.status, "who only looks at the status takes it for well"
            case do.Warn():
                assert self.first_ran_at is not None
                assert self.spec.warn_after is not None
                assert now >= self.first_ran_at + self.spec.warn_after, "warned too early"
            case do.Arm():
                self.armed = action.at
            case do.Spawn():
                self.check_spawn(now)
                self.begin_attempt()
            case do.Rest():
                assert self.tree_known_dead, "a pause while the tree may live"
                self.rests_since = now
            case do.Forward(signum=signum):
                self.forwarded.add(signum)
            case do.Signal():
                self.polite_at = now
            case do.Kill():
                self.check_kill(now)
            case do.Close(release=True) if self.spawned:
                assert self.tree_known_dead, "the lease is given back while the tree may live"
                assert not self.taken, "a lost lease is given back"

    def check_spawn(self, now: int) -> None:
        lease = self.run.lease
        assert not self.stop_seen, "a Spawn after a stop"
        assert not self.guardian_dead, "a Spawn with nobody to do it"
        assert self.run.outcome is None, "a Spawn after the run was over"
        if self.run.guarded:
            assert self.granted
            assert lease is not None
            assert not self.taken, "a Spawn with a lost lease"
            assert now < lease.give_up_at, "a Spawn with a lease that may be lost"
            if self.spec.dead_man != "off" and self.spec.on_lease_lost == "stop":
                assert self.armed == lease.kill_at
        else:
            assert self.spec.on_store_error == "run"
        if self.spawned:
            self.check_spawn_again(now)

    def check_spawn_again(self, now: int) -> None:
        assert self.spawned <= self.spec.retries, "more attempts than asked for"
        assert self.tree_known_dead, "two attempts at a time"
        assert self.last_status is not None
        assert self.last_failed, "another attempt after a success"
        assert self.last_status not in self.forwarded, "another after a signal that we passed on"
        assert self.rests_since is not None, "no pause"
        pause = min(
            self.spec.retry_delay * 2 ** (self.spawned - 1), max(600_000, self.spec.retry_delay)
        )
        assert now >= self.rests_since + pause, "the pause was cut short"
        if self.spec.timeout is not None:
            assert self.first_ran_at is not None
            assert now < self.first_ran_at + self.spec.timeout, "an attempt after the timeout"

    def begin_attempt(self) -> None:
        """Forget what was true of the attempt before."""
        self.spawned += 1
        self.tree_known_dead = False
        self.polite_at = self.last_status = self.rests_since = None
        self.last_failed = False
        self.forwarded = set()

    def check_kill(self, now: int) -> None:
        if self.taken or self.guardian_dead or self.was_at_stake:
            return
        assert self.polite_at is not None, "KILL without a polite signal"
        assert now >= self.polite_at + self.spec.kill_after, "KILL before the grace was over"

    def check_state(self, now: int) -> None:
        run = self.run
        if self.outcome is None:
            self.outcome = run.outcome
        assert run.outcome == self.outcome, "a second cause replaced the first"
        lease = run.lease
        if run.phase in HOLDING and run.phase != KILLING and lease is not None and not self.taken:
            due = run.wake_at()
            if self.spec.on_lease_lost == "stop":
                assert due is not None
                assert due <= lease.kill_at, "sleeps past the moment at which it must kill"


@settings(max_examples=WALKS, deadline=None)
@given(seed=st.integers(0, 2**32), spec=specs)
def test_the_promises_hold_whatever_comes(seed: int, spec: JobSpec) -> None:
    """Every event in every phase, at any time, breaks none of the machine's invariants."""
    dice = Random(seed)
    now = 1_000_000
    witness = Witness(spec)
    witness.see(ev.Begin(), now)
    for _ in range(STEPS):
        if witness.run.phase == DONE and dice.random() < 0.8:
            witness = Witness(spec)
            witness.see(ev.Begin(), now)
        due = witness.run.wake_at()
        if due is not None and dice.random() < 0.3:  # time passes up to what the machine wants
            now = max(now, due)
            did = witness.see(ev.Tick(), now)
            again = witness.run.wake_at()
            assert did or again is None or again > now, "it would spin"
        else:
            now += dice.choice((0, 1, 10, 500, 4_000))
            witness.see(likely_event(dice, witness.run, now), now)


def likely_event(dice: Random, run: Run, now: int) -> ev.Event:
    """Half of the time anything; else what leads on, so that walks get deep."""
    if dice.random() < 0.5 or run.phase not in LEADS_ON:
        return draw_event(dice, now)
    return dice.choice(LEADS_ON[run.phase](now))


def test_every_phase_names_every_event() -> None:
    """The table is total: "ignore" is a decision as well."""
    every = {kind for kind in vars(ev).values() if isinstance(kind, type)} - {ev.Event}
    every = {kind for kind in every if issubclass(kind, ev.Event)}
    assert set(TABLE) == set(PHASES)
    for phase, row in TABLE.items():
        assert set(row) == every, f"{phase} lacks {every - set(row)}"


def test_the_walks_go_everywhere() -> None:
    """The walks above are no proof for phases that they hardly visit."""
    if not SEEN:
        pytest.skip("the walks ran in another process")
    assert sum(SEEN.values()) >= 100_000
    assert min(SEEN.get(phase, 0) for phase in PHASES) >= 1_000, SEEN


def test_every_phase_can_be_reached() -> None:
    """No phase is dead code."""
    assert PHASES[0] == WAITING
    reached = {WAITING}
    for story in STORIES:
        spec = JobSpec(name="j", command=["x"], store="s", stragglers=story[0], retries=1)
        run = Run(spec, LeaseTimes(30_000))
        for now, event in enumerate(story[1]):
            run.step(event, now)
            reached.add(run.phase)
    assert reached == set(PHASES)


ENDING: tuple[ev.Event, ...] = (
    *(ev.Exited(256, 0), ev.TreeDead(), ev.Signalled(15), ev.StopAsked("op@host")),
)
LEADS_ON: dict[str, Callable[[int], tuple[ev.Event, ...]]] = {
    "asking": lambda now: (ev.Granted(now, 1, 0, 0), ev.Granted(now - 500, 1, 0, 0)),
    "spawning": lambda now: (ev.Spawned(1),),
    "running": lambda now: (
        *(ev.Renewed(now, 0, None), ev.Exited(0, 1), ev.Gone(now)),
        *(ev.Exited(256, 0), ev.Exited(256, 1), ev.Signalled(10), ev.Exited(10, 0)),
    ),
    "stopping": lambda now: (*ENDING, ev.Renewed(now, 0, None), ev.Exited(15, 1)),
    "killing": lambda now: (*ENDING, ev.Renewed(now, 0, "op@host")),
    "resting": lambda now: (ev.Renewed(now, 0, None), ev.Tick(), ev.TreeDead()),
}
GRANT = ev.Granted(0, 5, 0, 0)
STORIES: list[tuple[str, list[ev.Event]]] = [
    ("kill", [ev.Begin(), GRANT, ev.Spawned(1), ev.Exited(0, 0), ev.Closed()]),
    ("wait", [ev.Begin(), GRANT, ev.Spawned(1), ev.Exited(0, 1)]),
    ("kill", [ev.Begin(), GRANT, ev.Spawned(1), ev.Signalled(15), ev.GuardianDied()]),
    ("kill", [ev.Begin(), GRANT, ev.Spawned(1), ev.Exited(256, 0)]),
]
