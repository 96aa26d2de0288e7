"""Steering from anywhere: stop, unlock, pause; and what `doctor` asks."""

from __future__ import annotations

from cronguard.core.events import Closed, Gone, Granted, Queued, Refused, Renewed, Taken
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, Harness, Steering, shown, until, wall_ms


def test_a_stop_request_comes_with_the_next_renewal(run: NewRun, history: Steering) -> None:
    """`stop` reaches a holder that hears no push, by its heartbeat."""
    one = run()
    grant = one.granted()
    history.ask_stop(JOB, one.id, "alice@web-1")
    renewed = one.renew(grant)
    assert isinstance(renewed, Renewed), shown(renewed)
    assert renewed.stop_by == "alice@web-1"


def test_a_stop_request_is_for_one_run(run: NewRun, history: Steering) -> None:
    """The next run is not stopped by what was meant for the last one."""
    one, two = run(), run()
    one.granted()
    history.ask_stop(JOB, one.id, "alice")
    one.close("stopped")
    renewed = two.renew(two.granted())
    assert isinstance(renewed, Renewed), shown(renewed)
    assert renewed.stop_by is None


def test_a_stop_request_for_nobody_changes_nothing(run: NewRun, history: Steering) -> None:
    """Asking an unknown job or run to stop is harmless."""
    history.ask_stop("unknown", "0" * 32, "alice")
    history.ask_stop(JOB, "0" * 32, "alice")
    run().granted()


def test_a_stop_request_in_the_queue_outlasts_the_grant(run: NewRun, history: Steering) -> None:
    """A waiter that is granted before it heard of the request hears of it then."""
    holder, waiter = run(), run()
    holder.granted()
    assert isinstance(waiter.acquire(queue_for=60_000), Queued)
    history.ask_stop(JOB, waiter.id, "alice")
    holder.close()
    grant = waiter.acquire(queue_for=60_000)
    assert isinstance(grant, Granted), shown(grant)
    renewed = waiter.renew(grant)
    assert isinstance(renewed, Renewed), shown(renewed)
    assert renewed.stop_by == "alice"


def test_unlock_frees_the_lease_and_fences_its_holder(run: NewRun, history: Steering) -> None:
    """L20: the holder can neither renew nor reclaim what an operator took from it."""
    one = run()
    grant = one.granted()
    [lease] = history.leases([JOB])[JOB]
    assert history.unlock(lease, "alice")
    assert history.leases([JOB])[JOB] == []
    assert isinstance(one.renew(grant), Gone | Taken)
    assert isinstance(one.reclaim(grant), Taken)
    assert isinstance(one.close("lease_lost", release=False), Closed)
    assert run().granted().token > grant.token
    assert not history.unlock(lease, "alice")


def test_unlock_takes_nothing_from_the_next_holder(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """The lease changed hands between looking and unlocking."""
    one, two = run(), run()
    one.granted()
    [seen] = history.leases([JOB])[JOB]
    store.vanish(JOB, 0)
    grant = two.granted()
    assert not history.unlock(seen, "alice")
    assert isinstance(two.renew(grant), Renewed)


def test_unlock_ends_min_hold(run: NewRun, history: Steering) -> None:
    """L12: what is only kept for min_hold can be unlocked as well."""
    one = run(min_hold=60_000)
    one.granted()
    one.close()
    [lease] = history.leases([JOB])[JOB]
    assert history.unlock(lease, "alice")
    run(min_hold=60_000).granted()


def test_unlock_of_one_slot_leaves_the_others(run: NewRun, history: Steering) -> None:
    """L16: exactly this lease is freed."""
    one, two = run(slots=2), run(slots=2)
    first, second = one.granted(), two.granted()
    lease = next(lease for lease in history.leases([JOB])[JOB] if lease.token == first.token)
    assert history.unlock(lease, "alice")
    assert isinstance(two.renew(second), Renewed)
    assert isinstance(one.renew(first), Gone | Taken)


def test_an_unlocked_run_is_abandoned_until_it_says_how_it_ended(
    run: NewRun, history: Steering
) -> None:
    """P22: the record of a run whose lease an operator removed is closed, and corrected later."""
    one = run()
    one.granted()
    history.unlock(history.leases([JOB])[JOB][0], "alice")
    assert history.runs(JOB, 1)[0]["outcome"] == "abandoned"
    one.close("lease_lost", release=False)
    assert history.runs(JOB, 1)[0]["outcome"] == "lease_lost"


def test_a_paused_job_is_refused_with_the_reason(run: NewRun, history: Steering) -> None:
    """`pause`: nothing starts until `resume`; the skip says why."""
    history.pause(JOB, None, "the disk is being replaced", "alice")
    for queue_for in (0, 60_000):
        refused = run().acquire(queue_for=queue_for)
        assert isinstance(refused, Refused), shown(refused)
        assert refused.reason == "paused"
        assert refused.why == "until resumed by alice: the disk is being replaced"
    assert history.waiters(JOB) == []
    run("other").granted()
    assert history.resume(JOB)
    assert not history.resume(JOB)
    run().granted()


def test_a_pause_ends_by_itself(run: NewRun, history: Steering) -> None:
    """`pause --for 1h`: nobody needs to remember to resume."""
    history.pause(JOB, wall_ms() + 300, "for a moment", "alice")
    one = run()
    refused = one.acquire()
    assert isinstance(refused, Refused)
    assert refused.why.startswith("until 2")
    until(lambda: isinstance(one.acquire(), Granted), "the pause to end")


def test_a_pause_does_not_stop_what_runs(run: NewRun, history: Steering) -> None:
    """A paused job's run goes on, keeps its lease, and may ask again for it."""
    one = run()
    grant = one.granted()
    history.pause(JOB, None, "", "")
    assert isinstance(one.renew(grant), Renewed)
    assert one.granted().token >= grant.token
    assert isinstance(one.close(), Closed)


def test_the_store_tells_its_version_and_clock(history: Steering) -> None:
    """`doctor` compares the store's clock with ours."""
    facts = history.facts()
    assert facts["version"]
    clock = facts["clock"]
    assert isinstance(clock, int)
    assert abs(clock - wall_ms()) < 10_000
