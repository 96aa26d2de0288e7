"""Two people act at the same moment: no order of their steps takes a living run's lock away.

Each request is done by the store as a whole, so what two of them can come to are the orders in
which their requests arrive. All of these are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from cronguard.core.events import Closed, Granted, Held, Queued, Renewed, Taken
from cronguard.stores.contract import Lease
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, Harness, Run, Steering, shown

Step = Callable[[], object]


def orders(first: int, second: int) -> list[str]:
    """Return every order of so many steps of the first (a) and of the second (b)."""
    steps = range(first + second)
    return ["".join("ab"[at not in own] for at in steps) for own in combinations(steps, first)]


def act(order: str, *actors: list[Step]) -> None:
    """Do the steps of the actors in this order."""
    left = [iter(steps) for steps in actors]
    for actor in order:
        next(left["ab".index(actor)])()


class Operator:
    """Somebody who looks for the lock of a run, and acts on what was seen."""

    def __init__(self, history: Steering, run: Run) -> None:
        self.history = history
        self.run_id = run.id
        self.seen: list[Lease] = []

    def look(self) -> None:
        found = self.history.leases([JOB])[JOB]
        self.seen = [lease for lease in found if lease.owner.run_id == self.run_id]

    def unlock(self) -> None:
        for lease in self.seen:
            self.history.unlock(lease, "alice")

    def stop(self) -> None:
        for lease in self.seen:
            self.history.ask_stop(JOB, lease.owner.run_id, "alice")


class Starter:
    """A run that is started, and goes on once it got the lock."""

    def __init__(self, run: Run, evict: str | None = None) -> None:
        self.run = run
        self.evict = evict
        self.grant: Granted | None = None

    def ask(self) -> None:
        event = self.run.acquire(evict=self.evict)
        assert isinstance(event, Granted | Held), shown(event)
        if isinstance(event, Granted):
            self.grant = event

    def check(self) -> None:
        """What was granted is held still, and by nobody else."""
        if self.grant is None:
            self.ask()
        assert self.grant is not None, "nobody has the lock, and it is not to be had"
        renewed = self.run.renew(self.grant)
        assert isinstance(renewed, Renewed), shown(renewed)
        assert renewed.stop_by is None, "it was not meant"

    def end(self) -> None:
        assert isinstance(self.run.close(), Closed)


class Heir(Starter):
    """A run that replaces who holds the lock, and waits until that has ended."""

    def ask(self) -> None:
        event = self.run.acquire(queue_for=60_000, replace="replaced by web-9, pid 1")
        assert isinstance(event, Granted | Held | Queued), shown(event)
        if isinstance(event, Granted):
            self.grant = event


@pytest.mark.parametrize("order", orders(2, 2))
def test_unlock_and_release(run: NewRun, history: Steering, order: str) -> None:
    """The holder ends while an operator unlocks it, and the next run starts: that one goes on."""
    holder, starter = run(), Starter(run())
    operator = Operator(history, holder)
    holder.granted()
    act(order, [operator.look, operator.unlock], [holder.close, starter.ask])
    starter.check()
    starter.end()


@pytest.mark.parametrize("order", orders(2, 2))
def test_clean_and_a_takeover(run: NewRun, history: Steering, order: str) -> None:
    """A dead run's lock is taken over while it is cleaned: who got it goes on, nobody else."""
    dead = run()
    operator = Operator(history, dead)
    dead.granted()
    operator.look()
    first, second = Starter(run(), evict=dead.id), Starter(run())
    act(order, [operator.unlock, lambda: history.close_left_behind(JOB)], [first.ask, second.ask])
    first.check()
    assert second.grant is None
    assert [lease.owner.run_id for lease in history.leases([JOB])[JOB]] == [first.run.id]
    assert history.runs(JOB, 1)[0]["outcome"] == "running"
    first.end()


@pytest.mark.parametrize("order", orders(3, 2))
def test_clean_and_acquire(run: NewRun, history: Steering, store: Harness, order: str) -> None:
    """A dead run's lock runs out while it is cleaned, and the next one starts: it goes on."""
    dead, starter = run(), Starter(run())
    operator = Operator(history, dead)
    dead.granted()
    act(
        order,
        [operator.look, operator.unlock, lambda: history.close_left_behind(JOB)],
        [lambda: store.vanish(JOB, 0), starter.ask],
    )
    starter.check()
    assert history.runs(JOB, 1)[0]["outcome"] == "running"
    assert {one["outcome"] for one in history.runs(JOB, 5)[1:]} == {"abandoned"}
    starter.end()


@pytest.mark.parametrize("order", orders(2, 2))
def test_two_cleans_and_a_reset(run: NewRun, history: Steering, order: str) -> None:
    """Whatever two of them clear, who starts meanwhile keeps lock and record."""
    dead = run()
    one, two = Operator(history, dead), Operator(history, dead)
    dead.granted()
    one.look()
    two.look()
    starter = Starter(run(), evict=dead.id)
    act(order, [one.unlock, starter.ask], [two.unlock, lambda: history.reset(JOB)])
    starter.check()
    assert not history.reset(JOB)
    starter.check()
    starter.end()


@pytest.mark.parametrize("order", orders(2, 3))
def test_stop_and_timeout(run: NewRun, history: Steering, order: str) -> None:
    """A run times out while it is asked to stop: the next one is not stopped in its place."""
    holder, starter = run(), Starter(run())
    operator = Operator(history, holder)
    grant = holder.granted()
    heard: list[object] = []

    def time_out() -> None:
        renewed = holder.renew(grant)
        heard.append(getattr(renewed, "stop_by", None))
        assert isinstance(renewed, Renewed | Taken), shown(renewed)

    act(
        order,
        [operator.look, operator.stop],
        [time_out, lambda: holder.close("timed_out"), starter.ask],
    )
    starter.check()
    ended = next(one for one in history.runs(JOB, 5) if one["run_id"] == holder.id)
    assert ended["outcome"] == "timed_out"
    starter.end()


@pytest.mark.parametrize("order", orders(2, 3))
def test_stop_and_replace(run: NewRun, history: Steering, order: str) -> None:
    """An operator stops the run that is being replaced: who takes its place is not stopped."""
    holder, heir = run(), Heir(run())
    operator = Operator(history, holder)
    holder.granted()
    act(
        order,
        [operator.look, operator.stop],
        [heir.ask, lambda: holder.close("stopped", "replaced"), heir.ask],
    )
    heir.check()
    assert [lease.owner.run_id for lease in history.leases([JOB])[JOB]] == [heir.run.id]
    heir.end()


@pytest.mark.parametrize("order", orders(2, 2))
def test_unlock_and_replace(run: NewRun, history: Steering, order: str) -> None:
    """The lock is taken from the run that is being replaced: there is one holder, the heir."""
    holder, heir = run(), Heir(run())
    operator = Operator(history, holder)
    grant = holder.granted()
    act(order, [operator.look, operator.unlock], [heir.ask, heir.ask])
    heir.check()
    renewed = holder.renew(grant)
    assert isinstance(renewed, Taken), shown(renewed)
    heir.end()


@pytest.mark.parametrize("order", orders(2, 2))
def test_two_that_replace_one_run(run: NewRun, history: Steering, order: str) -> None:
    """It is asked once, ends, and one of the two has the lock; the other one's turn comes."""
    holder, one, two = run(), Heir(run()), Heir(run())
    holder.granted()
    act(order, [one.ask, holder.close], [two.ask, two.ask])
    for heir in (one, two):
        if heir.grant is None:
            heir.ask()
    assert (one.grant is None) != (two.grant is None)
    first, second = (one, two) if one.grant is not None else (two, one)
    first.end()
    second.ask()
    assert second.grant is not None
    assert [lease.owner.run_id for lease in history.leases([JOB])[JOB]] == [second.run.id]
    second.end()
