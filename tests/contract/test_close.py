"""Close: gives back only what is its own, once or twice, now or after min_hold."""

from __future__ import annotations

import pytest

from cronguard.core.events import Closed, Held, Refused, Renewed
from cronguard.stores.contract import Close
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, PX, Harness, Steering, shown, until, wall_ms


def outcomes(history: Steering) -> dict[object, object]:
    """Return the outcome of each run that is on record."""
    return {record["run_id"]: record["outcome"] for record in history.runs(JOB, 500)}


def test_the_lease_is_free_after_the_end(run: NewRun, history: Steering) -> None:
    """The end gives back the lease and stores the record, in one."""
    one = run()
    one.granted()
    assert isinstance(one.close(), Closed)
    assert history.leases([JOB])[JOB] == []
    assert outcomes(history) == {one.id: "succeeded"}
    run().granted()


def test_the_end_can_be_repeated(run: NewRun, history: Steering) -> None:
    """L10: the reply was lost; the retry changes nothing, counts nothing, and is answered."""
    one, two = run(), run()
    one.granted()
    assert isinstance(one.close("failed"), Closed)
    assert isinstance(one.close("failed"), Closed)
    grant = two.granted()
    assert isinstance(one.close("failed"), Closed)
    assert isinstance(two.renew(grant), Renewed)
    counters = history.counters([JOB])[JOB]
    assert counters["failed"] == 1
    assert counters["failures_in_a_row"] == 1
    assert len(history.runs(JOB, 10)) == 2


def test_the_end_after_expiry_takes_nothing_from_the_next(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L9: our lease expired and another run was granted it: it keeps it, and we our record."""
    one, two = run(), run()
    one.granted()
    store.vanish(JOB, 0)
    grant = two.granted()
    assert isinstance(one.close("failed"), Closed)
    assert isinstance(two.renew(grant), Renewed)
    assert outcomes(history) == {one.id: "failed", two.id: "running"}


def test_the_record_is_stored_though_the_lease_is_gone(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L6, L9: nothing is lost with the lease."""
    one = run()
    one.granted()
    store.vanish(JOB, 0)
    assert isinstance(one.close("lease_lost", release=False), Closed)
    assert outcomes(history) == {one.id: "lease_lost"}


def test_the_record_is_stored_though_everything_was_lost(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L6: also when the store forgot that there ever was such a job."""
    one = run()
    one.granted()
    store.lose_everything()
    assert isinstance(one.close(), Closed)
    assert outcomes(history) == {one.id: "succeeded"}
    assert history.jobs() == [JOB]


def test_an_end_without_release_keeps_the_lease(run: NewRun, history: Steering) -> None:
    """What is not to be given back is left to expire; the run is over all the same."""
    one = run()
    one.granted()
    assert isinstance(one.close("lease_lost", release=False), Closed)
    assert isinstance(run().acquire(), Held)
    assert outcomes(history) == {one.id: "lease_lost"}


def test_a_run_without_a_record_leaves_none(run: NewRun, history: Steering) -> None:
    """A Close without a record gives back, and takes the start record away."""
    one = run()
    one.granted()
    closed = one.ask(Close(None, outcome="stopped", ended_wall=wall_ms()))
    assert isinstance(closed, Closed)
    assert history.runs(JOB, 10) == []
    run().granted()
    assert "abandoned" not in history.counters([JOB])[JOB]


def test_min_hold_keeps_the_lease_after_a_short_run(run: NewRun, history: Steering) -> None:
    """L12: the lock stays for what is left of min_hold, but the run is over."""
    one = run(min_hold=20_000)
    one.granted()
    assert isinstance(one.close(), Closed)
    [lease] = history.leases([JOB])[JOB]
    assert lease.released
    assert 10_000 < lease.left <= 20_000
    held = run().acquire()
    assert isinstance(held, Held), shown(held)
    assert held.left <= 20_000
    assert held.over
    assert outcomes(history) == {one.id: "succeeded"}


def test_min_hold_ends(run: NewRun, history: Steering) -> None:
    """L12: when min_hold is over the lease is free."""
    one = run(min_hold=300)
    one.granted()
    one.close()
    until(lambda: not history.leases([JOB])[JOB], "min_hold to end")
    run().granted()


def test_min_hold_that_is_over_keeps_nothing(run: NewRun, history: Steering) -> None:
    """L12: a run that lasted longer than min_hold gives back at once."""
    one = run(min_hold=30)
    one.granted()
    until(lambda: history.leases([JOB])[JOB][0].left < PX - 40, "min_hold to pass")
    one.close()
    assert history.leases([JOB])[JOB] == []


def test_min_hold_can_outlast_the_lease(run: NewRun, history: Steering) -> None:
    """L12: min_hold may be longer than a lease lasts without renewals."""
    one = run(min_hold=10 * PX)
    one.granted()
    one.close()
    assert history.leases([JOB])[JOB][0].left > 9 * PX


def test_a_repeated_end_does_not_prolong_min_hold(run: NewRun, history: Steering) -> None:
    """L12: it counts from the grant."""
    one = run(min_hold=20_000)
    one.granted()
    one.close()
    until(lambda: history.leases([JOB])[JOB][0].left < 19_980, "the lease to age")
    one.close()
    assert history.leases([JOB])[JOB][0].left < 19_980


def test_who_is_over_cannot_be_evicted_before_min_hold(run: NewRun) -> None:
    """L12, L17: that its tree is dead is what everybody knows already."""
    one, two = run(min_hold=20_000), run(min_hold=20_000)
    one.granted()
    one.close()
    assert isinstance(two.acquire(evict=one.id), Held)


def test_a_schedule_slot_is_run_once(run: NewRun) -> None:
    """L13: another host comes late, after the run has ended."""
    one, two = [run(rule="29000000", slot_px=60_000) for _ in range(2)]
    one.granted()
    one.close()
    refused = two.acquire()
    assert isinstance(refused, Refused), shown(refused)
    assert refused.reason == "slot_done"
    run(rule="29000001", slot_px=60_000).granted()


def test_a_schedule_slot_is_freed_when_the_child_did_not_start(run: NewRun) -> None:
    """L13: only a run that started uses the slot up."""
    one, two = [run(rule="29000000", slot_px=60_000) for _ in range(2)]
    one.granted()
    one.close("not_started", forget_slot=True)
    two.granted()
    assert isinstance(one.close("not_started", forget_slot=True), Closed)
    two.close()
    refused = run(rule="29000000", slot_px=60_000).acquire()
    assert isinstance(refused, Refused), shown(refused)


def test_a_skip_does_not_free_the_slot_of_another(run: NewRun) -> None:
    """L13: who was held says that it did not use the slot: it is the holder's."""
    one, two = [run(rule="29000000", slot_px=60_000) for _ in range(2)]
    one.granted()
    two.close("skipped", "held", release=False, forget_slot=True)
    one.close()
    assert isinstance(run(rule="29000000", slot_px=60_000).acquire(), Refused)


def test_a_schedule_slot_is_forgotten_in_time(run: NewRun) -> None:
    """L13: the store remembers it for slot_px."""
    one, two = [run(rule="29000000", slot_px=200) for _ in range(2)]
    one.granted()
    one.close()
    until(lambda: not isinstance(two.acquire(), Refused), "the slot to be forgotten")


def test_a_retried_grant_keeps_its_slot(run: NewRun) -> None:
    """L2, L13: the slot that is used up is our own."""
    one = run(rule="29000000", slot_px=60_000)
    assert one.granted().token <= one.granted().token  # of a quorum it may rise


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out", "stopped"])
def test_a_close_can_be_delivered_later(
    run: NewRun, store: Harness, history: Steering, outcome: str
) -> None:
    """L10: the store was away when the run ended; its record comes by another process."""
    one = run()
    one.granted()
    store.vanish(JOB, 0)
    run().granted()  # closes the record as abandoned
    history.deliver(one.claim, one.closing(outcome))
    history.deliver(one.claim, one.closing(outcome))
    assert outcomes(history)[one.id] == outcome
    counters = history.counters([JOB])[JOB]
    assert counters[outcome] == 1
    assert counters.get("abandoned", 0) == 0
    assert counters["failures_in_a_row"] == (0 if outcome == "succeeded" else 1)


def test_a_delivered_close_gives_back_a_lease_that_is_still_there(
    run: NewRun, history: Steering
) -> None:
    """L10: what is delivered is a whole Close."""
    one = run()
    one.granted()
    history.deliver(one.claim, one.closing())
    assert history.leases([JOB])[JOB] == []
