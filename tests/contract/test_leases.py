"""Acquire, Renew and Reclaim: at most so many runs, one token each, and never a second one."""

from __future__ import annotations

import pytest

from cronguard.core.events import Gone, Granted, Held, Refused, Renewed, Taken
from cronguard.stores.contract import Renew
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, PX, Harness, Steering, now_ms, shown, until, wall_ms


def test_a_free_lease_is_granted_and_counts_from_its_sending(run: NewRun) -> None:
    """A grant names token, index, the store's clock, and the moment at which it was sent."""
    one = run()
    before = now_ms()
    grant = one.granted()
    assert before <= grant.sent_at <= now_ms()
    assert grant.index == 0
    assert abs(grant.clock - wall_ms()) < 10_000
    assert grant.token >= grant.clock - 10_000


def test_a_second_run_is_held_and_told_by_whom(run: NewRun) -> None:
    """L1: the holder is named with all that is known of it, and how long it is in the way."""
    one, two = run(), run()
    one.granted()
    held = two.acquire()
    assert isinstance(held, Held), shown(held)
    assert held.holder.run_id == one.id
    assert held.holder.facts() == one.claim.owner.facts()
    assert PX - 10_000 < held.left <= PX
    assert not held.gone
    assert not held.over


def test_asked_again_the_holder_is_granted_the_same(run: NewRun, history: Steering) -> None:
    """L2: the reply to a grant was lost; the retry gets the same token and changes no record."""
    one = run()
    first = one.granted(command="first")
    again = one.granted(command="again")
    assert (again.token, again.index) == (first.token, first.index)
    [record] = history.runs(JOB, 10)
    assert record["command"] == "first"
    assert len(history.leases([JOB])[JOB]) == 1


def test_a_retried_grant_lasts_its_full_time_from_then(run: NewRun, history: Steering) -> None:
    """L2: a grant that is repeated is also renewed."""
    one = run()
    one.granted()
    until(lambda: history.leases([JOB])[JOB][0].left < PX - 20, "the lease to age")
    one.granted()
    assert history.leases([JOB])[JOB][0].left > PX - 20


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_at_most_so_many_runs_as_slots(run: NewRun, slots: int) -> None:
    """L16: the index tells the holders apart; one more is held."""
    grants = [run(slots=slots).granted() for _ in range(slots)]
    assert sorted(grant.index for grant in grants) == list(range(slots))
    assert isinstance(run(slots=slots).acquire(), Held)


def test_a_freed_slot_is_granted_again(run: NewRun) -> None:
    """L16: with slots the lowest free index is given."""
    runs = [run(slots=3) for _ in range(3)]
    for one in runs:
        one.granted()
    runs[1].close()
    assert run(slots=3).granted().index == 1


def test_jobs_and_namespaces_do_not_meet(run: NewRun, store: Harness) -> None:
    """A lease is of one job in one namespace."""
    run("a").granted()
    run("b").granted()
    other = store.namespace + "x"
    run("a", namespace=other).granted()
    side = store.history(other)
    assert side.jobs() == ["a"]
    assert len(side.leases(["a"])["a"]) == 1
    side.close()


def test_the_token_rises_with_every_grant(run: NewRun) -> None:
    """Tokens are fences: each is higher than all before, also within one ms."""
    tokens = []
    for _ in range(20):
        one = run()
        tokens.append(one.granted().token)
        one.close()
    assert tokens == sorted(set(tokens))


def test_the_token_rises_though_everything_was_lost(run: NewRun, store: Harness) -> None:
    """L6: the clock keeps tokens rising across FLUSHALL."""
    before = run().granted().token
    until(lambda: wall_ms() > before, "the clock to pass the token")
    store.lose_everything()
    assert run().granted().token > before


def test_a_lease_expires(run: NewRun, history: Steering) -> None:
    """A lease that nobody renews is free when its time is up, and not before."""
    run(px=300).granted()
    assert isinstance(run(px=300).acquire(), Held)
    until(lambda: not history.leases([JOB])[JOB], "the lease to expire")
    run(px=300).granted()


def test_renewing_extends(run: NewRun, history: Steering) -> None:
    """A Renew gives the lease its full time."""
    one = run()
    grant = one.granted()
    until(lambda: history.leases([JOB])[JOB][0].left < PX - 20, "the lease to age")
    before = now_ms()
    renewed = one.renew(grant)
    assert isinstance(renewed, Renewed), shown(renewed)
    assert renewed.sent_at >= before
    assert renewed.stop_by is None
    assert not renewed.clock or abs(renewed.clock - wall_ms()) < 10_000
    lease = history.leases([JOB])[JOB][0]
    assert lease.left > PX - 10 - (now_ms() - before)  # its full time, less what has passed since
    assert lease.token == grant.token


def test_renewing_what_is_gone_creates_nothing(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L6, L11: a Renew finds nothing, says so, and leaves nothing."""
    one = run()
    grant = one.granted()
    store.vanish(JOB, 0)
    assert isinstance(one.renew(grant), Gone)
    assert history.leases([JOB])[JOB] == []
    run().granted()


def test_renewing_after_the_end_resurrects_nothing(run: NewRun, history: Steering) -> None:
    """L11: a Renew that was under way when the lease was given back does not take it again."""
    one = run()
    grant = one.granted()
    one.close()
    assert isinstance(one.renew(grant), Gone | Taken)
    assert history.leases([JOB])[JOB] == []


def test_renewing_what_another_holds_says_whose(run: NewRun, store: Harness) -> None:
    """L7: the lease vanished and another run was granted it."""
    one, two = run(), run()
    grant = one.granted()
    store.vanish(JOB, 0)
    two.granted()
    taken = one.renew(grant)
    assert isinstance(taken, Taken), shown(taken)
    assert taken.holder is not None
    assert taken.holder.run_id == two.id


def test_renewing_with_another_token_or_index_is_refused(run: NewRun) -> None:
    """A Renew is of one grant: run, token and index."""
    one = run(slots=2)
    grant = one.granted()
    assert isinstance(one.ask(Renew(grant.token - 1, grant.index)), Taken)
    assert isinstance(one.ask(Renew(grant.token, 1)), Gone)
    assert isinstance(one.renew(grant), Renewed)


def test_a_vanished_lease_can_be_reclaimed(run: NewRun, store: Harness, history: Steering) -> None:
    """L6: nobody was granted it since, so it is ours again, with the same token."""
    one = run()
    grant = one.granted()
    store.vanish(JOB, 0)
    assert isinstance(one.reclaim(grant), Renewed)
    [lease] = history.leases([JOB])[JOB]
    assert (lease.token, lease.owner.run_id) == (grant.token, one.id)
    assert isinstance(one.renew(grant), Renewed)
    assert isinstance(run().acquire(), Held)


def test_a_reclaim_can_be_asked_again(run: NewRun, store: Harness) -> None:
    """The reply to a Reclaim was lost; the retry is answered the same."""
    one = run()
    grant = one.granted()
    store.vanish(JOB, 0)
    assert isinstance(one.reclaim(grant), Renewed)
    assert isinstance(one.reclaim(grant), Renewed)


def test_a_lease_can_be_reclaimed_though_everything_was_lost(run: NewRun, store: Harness) -> None:
    """L6: after FLUSHALL the holder goes on, and tokens rise from its own."""
    one = run()
    grant = one.granted()
    store.lose_everything()
    assert isinstance(one.renew(grant), Gone)
    assert isinstance(one.reclaim(grant), Renewed)
    one.close()
    assert run().granted().token > grant.token


def test_a_lease_that_another_holds_cannot_be_reclaimed(run: NewRun, store: Harness) -> None:
    """L7: what another run holds is not taken from it."""
    one, two = run(), run()
    grant = one.granted()
    store.vanish(JOB, 0)
    two.granted()
    taken = one.reclaim(grant)
    assert isinstance(taken, Taken), shown(taken)
    assert taken.holder is not None
    assert taken.holder.run_id == two.id


def test_a_lease_that_another_held_since_cannot_be_reclaimed(run: NewRun, store: Harness) -> None:
    """L6: another run came and went meanwhile: its token fences this one."""
    one, two = run(), run()
    grant = one.granted()
    store.vanish(JOB, 0)
    two.granted()
    two.close()
    assert isinstance(one.renew(grant), Gone | Taken)
    assert isinstance(one.reclaim(grant), Taken)


def test_grants_of_other_slots_do_not_fence(run: NewRun, store: Harness) -> None:
    """L6, L16: only the index that vanished counts."""
    one, two = run(slots=2), run(slots=2)
    grant = one.granted()
    two.granted()
    store.vanish(JOB, grant.index)
    assert isinstance(one.reclaim(grant), Renewed)


@pytest.mark.parametrize("other", [{"slots": 2}, {"px": PX + 1000}])
def test_runs_with_other_settings_are_refused(run: NewRun, other: dict[str, int]) -> None:
    """L22: the same job with another TTL or number of slots is a conflict, told with where."""
    one, two = run(), run(**other)
    one.granted()
    refused = two.acquire()
    assert isinstance(refused, Refused), shown(refused)
    assert refused.reason == "conflict"
    assert "web-3" in refused.why
    one.close()
    two.granted()


def test_a_run_with_other_settings_is_refused_in_the_queue(run: NewRun, history: Steering) -> None:
    """L22: it does not wait either, where it would keep others from running."""
    run().granted()
    refused = run(slots=2).acquire(queue_for=60_000)
    assert isinstance(refused, Refused), shown(refused)
    assert history.waiters(JOB) == []


def test_a_reclaim_does_not_mix_settings(run: NewRun, store: Harness) -> None:
    """L22: a lease that vanished is not taken again beside one of other settings."""
    one, two = run(slots=2), run(slots=2)
    one.granted()
    grant = two.granted()
    store.vanish(JOB, 0)
    store.vanish(JOB, 1)
    run(slots=1).granted()
    assert isinstance(two.reclaim(grant), Taken)


def test_a_holder_that_is_proven_dead_can_be_evicted(run: NewRun, history: Steering) -> None:
    """L17: who proved that the holder's tree is dead need not wait for its lease to expire."""
    one, two = run(), run()
    first = one.granted()
    grant = two.granted(evict=one.id)
    assert grant.token > first.token
    assert isinstance(one.renew(first), Taken)
    outcomes = {record["run_id"]: record["outcome"] for record in history.runs(JOB, 10)}
    assert outcomes == {one.id: "abandoned", two.id: "running"}


def test_only_the_named_holder_is_evicted(run: NewRun) -> None:
    """L17: the holder changed meanwhile: nothing is taken from the new one."""
    one, two, three = run(), run(), run()
    one.granted()
    one.close()
    grant = two.granted()
    held = three.acquire(evict=one.id)
    assert isinstance(held, Held), shown(held)
    assert held.holder.run_id == two.id
    assert isinstance(two.renew(grant), Renewed)


def test_many_requests_are_answered_in_their_order(run: NewRun) -> None:
    """Each request gets exactly one reply, in order, also when they are sent at once."""
    one = run()
    grant = one.granted()
    sent_at = now_ms()
    for later in range(5):
        one.store.send(Renew(grant.token, grant.index), sent_at + later)
    one.store.send(one.closing(), sent_at + 5)
    found: list[object] = []

    def all_answered() -> bool:
        found.extend(one.store.events(now_ms()))
        return len(found) >= 6

    until(all_answered, "six replies")
    assert [type(event).__name__ for event in found] == ["Renewed"] * 5 + ["Closed"]
    assert [getattr(event, "sent_at", None) for event in found[:5]] == [
        sent_at + later for later in range(5)
    ]


def test_a_granted_lease_outlives_its_connection(run: NewRun) -> None:
    """Closing a store lets go of descriptors; leases stay as they are."""
    one = run()
    one.granted()
    one.store.close()
    assert isinstance(run().acquire(), Held)


def test_a_grant_says_who_we_are_to_readers(run: NewRun, history: Steering) -> None:
    """Readers see the lease with its owner, its token and its times."""
    one = run()
    grant = one.granted()
    [lease] = history.leases([JOB, "unknown"])[JOB]
    assert isinstance(grant, Granted)
    assert (lease.job, lease.index, lease.token, lease.px) == (JOB, 0, grant.token, PX)
    assert lease.owner.run_id == one.id
    assert lease.owner.facts() == one.claim.owner.facts()
    assert not lease.released
    assert PX - 10_000 < lease.left <= PX
    assert history.leases(["unknown"]) == {"unknown": []}
