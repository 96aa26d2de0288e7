"""Random walks over a store and a model of it that fits on a page; they must never differ."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cronguard.core.events import Closed, Gone, Granted, Held, Queued, Renewed, Taken
from tests.contract.harness import Harness, Run, Steering, new_claim, shown

LONG = 600_000
RUNS = st.integers(0, 4)
INDEXES = st.integers(0, 2)
JOBS = itertools.count()


class Walk(RuleBasedStateMachine):
    """Five runs of one job: ask, renew, reclaim, end; leases vanish, operators meddle.

    `leases` index -> (run id, token) · `fences` the same, of who was last granted that index ·
    `grants` what each run was last told it holds.
    """

    store: Harness
    history: Steering

    def __init__(self) -> None:
        super().__init__()
        self.job = f"walk{next(JOBS)}"
        self.slots = 1
        self.leases: dict[int, tuple[str, int]] = {}
        self.fences: dict[int, tuple[str, int]] = {}
        self.queue: list[str] = []
        self.grants: dict[str, Granted] = {}
        self.last_token = 0
        self.runs: list[Run] = []

    @initialize(slots=st.integers(1, 3))
    def begin(self, slots: int) -> None:
        self.slots = slots
        self.runs = [self._new_run() for _ in range(5)]

    def _new_run(self) -> Run:
        claim = new_claim(self.job, self.store.namespace, slots=self.slots)
        return Run(self.store.open(claim), claim)

    def _held_by(self, run_id: str) -> int | None:
        return next((i for i, (holder, _) in self.leases.items() if holder == run_id), None)

    def _ask(self, one: Run, queues: bool, evict: str | None = None) -> None:
        event = one.acquire(queue_for=LONG if queues else 0, evict=evict)
        index = self._held_by(one.id)
        if index is not None:
            assert isinstance(event, Granted), shown(event)
            assert (event.index, event.token) == (index, self.leases[index][1])
            return
        victim = None if evict is None else self._held_by(evict)
        if victim is not None:
            del self.leases[victim]
        free = [i for i in range(self.slots) if i not in self.leases]
        place = self.queue.index(one.id) if one.id in self.queue else len(self.queue)
        if place < len(free):
            assert isinstance(event, Granted), shown(event)
            assert event.index == free[0]
            assert event.token > self.last_token
            self.last_token = event.token
            self.leases[event.index] = self.fences[event.index] = (one.id, event.token)
            self.grants[one.id] = event
            if one.id in self.queue:
                self.queue.remove(one.id)
        elif queues:
            assert isinstance(event, Queued), shown(event)
            assert event.ahead == place
            self.grants.pop(one.id, None)  # it was told that it holds nothing
            if one.id not in self.queue:
                self.queue.append(one.id)
        else:
            assert isinstance(event, Held), shown(event)
            self.grants.pop(one.id, None)

    @rule(number=RUNS, queues=st.booleans())
    def acquire(self, number: int, queues: bool) -> None:
        self._ask(self.runs[number], queues)

    @rule(number=RUNS, queues=st.booleans(), other=RUNS)
    def acquire_evicting(self, number: int, queues: bool, other: int) -> None:
        self._ask(self.runs[number], queues, evict=self.runs[other].id)

    @rule(number=RUNS)
    def renew(self, number: int) -> None:
        one = self.runs[number]
        grant = self.grants.get(one.id)
        if grant is None:
            return
        event = one.renew(grant)
        there = self.leases.get(grant.index)
        if there == (one.id, grant.token):
            assert isinstance(event, Renewed), shown(event)
        elif there is not None:
            assert isinstance(event, Taken), shown(event)
        else:
            fenced = self.fences.get(grant.index) != (one.id, grant.token)
            assert isinstance(event, Gone) or (fenced and isinstance(event, Taken)), shown(event)

    @rule(number=RUNS)
    def reclaim(self, number: int) -> None:
        one = self.runs[number]
        grant = self.grants.get(one.id)
        if grant is None:
            return
        event = one.reclaim(grant)
        ours = (one.id, grant.token)
        there = self.leases.get(grant.index)
        if there == ours or (there is None and self.fences.get(grant.index) == ours):
            assert isinstance(event, Renewed), shown(event)
            self.leases[grant.index] = ours
        else:
            assert isinstance(event, Taken), shown(event)

    @rule(number=RUNS, outcome=st.sampled_from(["succeeded", "failed", "skipped"]))
    def close(self, number: int, outcome: str) -> None:
        one = self.runs[number]
        assert isinstance(one.close(outcome, "held" if outcome == "skipped" else ""), Closed)
        index = self._held_by(one.id)
        if index is not None:
            del self.leases[index]
        if one.id in self.queue:
            self.queue.remove(one.id)
        one.store.close()
        self.runs[number] = self._new_run()

    @precondition(lambda self: self.leases)
    @rule(index=INDEXES)
    def expire(self, index: int) -> None:
        if index in self.leases:
            self.store.vanish(self.job, index)
            del self.leases[index]

    @precondition(lambda self: self.leases)
    @rule(index=INDEXES)
    def unlock(self, index: int) -> None:
        found = [x for x in self.history.leases([self.job])[self.job] if x.index == index]
        for lease in found:
            assert self.history.unlock(lease, "alice")
            del self.leases[index]
            self.fences[index] = ("nobody", lease.token)

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        seen = self.history.leases([self.job])[self.job]
        assert len(seen) <= self.slots
        assert {x.index: (x.owner.run_id, x.token) for x in seen} == self.leases
        assert self.history.waiters(self.job) == self.queue

    @invariant()
    def only_holders_are_running(self) -> None:
        records = self.history.runs(self.job, 500)
        running = {record["run_id"] for record in records if record["outcome"] == "running"}
        assert running == {holder for holder, _ in self.leases.values()}

    def teardown(self) -> None:
        for one in self.runs:
            one.store.close()


def test_random_walks_never_leave_the_model(store: Harness, history: Steering) -> None:
    """L15, L16, L6, L7, L9: at most so many holders, tokens that rise, a queue that is fair."""

    class Here(Walk):
        pass

    Here.store, Here.history = store, history
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
