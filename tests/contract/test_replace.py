"""Replacing: who asks with `replace` has those in its way asked to stop, and waits for its turn."""

from __future__ import annotations

from contextlib import closing

import pytest

from cronguard.core.events import Granted, Held, Queued, Renewed
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, Harness, Steering, shown, until

LONG = 60_000
BY = "replaced by web-9, pid 1"


def stop_by(one: object) -> str | None:
    """Return whose word a renewal brought."""
    assert isinstance(one, Renewed), shown(one)  # type: ignore[arg-type]
    return one.stop_by


def test_the_holder_is_asked_to_stop_and_then_replaced(run: NewRun) -> None:
    """It hears of it with its next heartbeat at the latest, keeps its lease, and ends first."""
    holder, heir = run(), run()
    grant = holder.granted()
    assert stop_by(holder.renew(grant)) is None
    for _ in range(2):  # asking again changes nothing
        assert isinstance(heir.acquire(queue_for=LONG, replace=BY), Queued)
        assert stop_by(holder.renew(grant)) == BY
    holder.close("stopped", "replaced")
    later = heir.granted(queue_for=LONG, replace=BY)
    assert later.token > grant.token
    assert stop_by(heir.renew(later)) is None


def test_a_free_lock_is_granted_and_nobody_is_asked(run: NewRun) -> None:
    """There is nobody to replace; and its own lease is no reason to stop."""
    one = run()
    grant = one.granted(queue_for=LONG, replace=BY)
    again = one.granted(queue_for=LONG, replace=BY)
    assert again.token >= grant.token
    assert stop_by(one.renew(again)) is None


def test_the_first_word_stands(run: NewRun, history: Steering) -> None:
    """An operator's request is not overwritten by who wants to replace the run."""
    holder, heir = run(), run()
    grant = holder.granted()
    history.ask_stop(JOB, holder.id, "ann@desk")
    heir.acquire(queue_for=LONG, replace=BY)
    assert stop_by(holder.renew(grant)) == "ann@desk"


def test_of_several_runs_the_oldest_makes_way(run: NewRun) -> None:
    """With --slots: one is enough; and none while there is a free one."""
    first, second, third = (run(slots=2) for _ in range(3))
    grants = [first.granted(), second.granted()]
    assert isinstance(third.acquire(queue_for=LONG, replace=BY), Queued)
    assert stop_by(first.renew(grants[0])) == BY
    assert stop_by(second.renew(grants[1])) is None
    first.close("stopped", "replaced")
    assert isinstance(third.acquire(queue_for=LONG, replace=BY), Granted)
    assert stop_by(second.renew(grants[1])) is None


def test_who_waits_before_it_makes_way_too_and_who_comes_after_does_not(
    run: NewRun,
) -> None:
    """The newest replaces all that were there, in either role; a later waiter keeps its place."""
    holder, before, heir, after = (run() for _ in range(4))
    holder.granted()
    before.acquire(queue_for=LONG)
    heir.acquire(queue_for=LONG)
    after.acquire(queue_for=LONG)
    heir.acquire(queue_for=LONG, replace=BY)
    holder.close("stopped", "replaced")
    assert stop_by(before.renew(before.granted(queue_for=LONG))) == BY
    before.close("skipped", "replaced")
    assert stop_by(heir.renew(heir.granted(queue_for=LONG))) is None
    heir.close()
    assert stop_by(after.renew(after.granted(queue_for=LONG))) is None


def test_a_run_that_is_over_and_only_held_is_not_asked(run: NewRun) -> None:
    """min_hold: there is nothing to stop, and no word is left for a run that cannot hear it."""
    over, heir = run(min_hold=LONG), run()
    over.granted()
    over.close()
    event = heir.acquire(queue_for=LONG, replace=BY)
    assert isinstance(event, Held | Queued), shown(event)


def test_the_word_for_a_waiter_goes_with_its_place(run: NewRun, store: Harness) -> None:
    """It was killed while it waited: nobody would ever take the word that it was to stop."""
    if not store.has_queue:
        pytest.skip("a quorum has no fair queue")
    holder, dead, heir, after = (run() for _ in range(4))
    holder.granted()
    dead.acquire(queue_for=LONG)
    heir.acquire(queue_for=LONG, replace=BY)
    dead.acquire(queue_for=1)
    with closing(store.history()) as history:
        until(lambda: history.waiters(JOB) == [heir.id], "the dead waiter to leave")
    after.acquire(queue_for=LONG)
    holder.close("stopped", "replaced")
    for one in (heir, after):
        one.granted(queue_for=LONG)
        one.close()
    assert stop_by(dead.renew(dead.granted())) is None
