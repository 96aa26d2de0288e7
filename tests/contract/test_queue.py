"""The queue: first in, first out; who is not heard of leaves it; news reach who waits."""

from __future__ import annotations

from cronguard.core.events import Event, Granted, Held, Queued, StopAsked, Woken
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, PX, Harness, Run, Steering, now_ms, shown, until

LONG = 60_000


def queued(one: Run) -> Queued:
    """Let a run stand in the queue."""
    event = one.acquire(queue_for=LONG)
    assert isinstance(event, Queued), shown(event)
    return event


def test_the_first_in_the_queue_is_the_first_out(run: NewRun, history: Steering) -> None:
    """L15: three wait; each is granted in the order of coming, whoever asks first."""
    holder, *waiting = [run() for _ in range(4)]
    holder.granted()
    assert [queued(one).ahead for one in waiting] == [0, 1, 2]
    assert history.waiters(JOB) == [one.id for one in waiting]
    holder.close()
    for position, one in enumerate(waiting):
        for later in waiting[position + 1 :]:
            assert isinstance(later.acquire(queue_for=LONG), Queued)
        assert isinstance(one.acquire(queue_for=LONG), Granted)
        one.close()
    assert history.waiters(JOB) == []


def test_who_does_not_queue_cannot_overtake(run: NewRun) -> None:
    """L15: the lease is free, but another run waits for it: a newcomer is held."""
    holder, waiter, newcomer = run(), run(), run()
    holder.granted()
    queued(waiter)
    holder.close()
    held = newcomer.acquire()
    assert isinstance(held, Held), shown(held)
    assert held.holder.run_id == waiter.id
    assert held.left > 0
    assert isinstance(waiter.acquire(queue_for=LONG), Granted)


def test_who_queues_later_cannot_overtake(run: NewRun) -> None:
    """L15: nor does a newcomer that queues."""
    holder, waiter, newcomer = run(), run(), run()
    holder.granted()
    queued(waiter)
    holder.close()
    assert queued(newcomer).ahead == 1


def test_the_place_in_the_queue_is_kept_by_asking(run: NewRun) -> None:
    """L15: asking again neither loses nor gains a place."""
    holder, first, second = run(), run(), run()
    holder.granted()
    for _ in range(3):
        assert queued(first).ahead == 0
        assert queued(second).ahead == 1


def test_a_queued_run_is_told_who_holds(run: NewRun) -> None:
    """L1: a waiting run can name the holder, and how long it is in the way."""
    holder, waiter = run(), run()
    holder.granted()
    event = queued(waiter)
    assert event.holder.run_id == holder.id
    assert event.holder.host == "web-3"
    assert PX - 10_000 < event.left <= PX


def test_a_waiter_that_is_not_heard_of_leaves_the_queue(run: NewRun, history: Steering) -> None:
    """L14: the first in the queue died; the next one runs."""
    holder, dead, waiter = run(), run(), run()
    holder.granted()
    dead.acquire(queue_for=150)
    assert queued(waiter).ahead == 1
    holder.close()
    until(lambda: isinstance(waiter.acquire(queue_for=LONG), Granted), "the dead waiter to leave")
    assert history.waiters(JOB) == []


def test_a_waiter_that_comes_back_too_late_stands_at_the_end(
    run: NewRun, history: Steering
) -> None:
    """L14, L15: its place is lost to those who came meanwhile."""
    holder, late, other = run(), run(), run()
    holder.granted()
    late.acquire(queue_for=50)
    queued(other)
    until(lambda: history.waiters(JOB) == [other.id], "the late waiter to be dropped")
    assert queued(late).ahead == 1


def test_a_close_leaves_the_queue(run: NewRun, history: Steering) -> None:
    """A run that has waited long enough, or was stopped, makes way."""
    holder, first, second = run(), run(), run()
    holder.granted()
    queued(first)
    queued(second)
    first.close("skipped", "wait_expired", release=True, forget_slot=True)
    assert history.waiters(JOB) == [second.id]
    assert queued(second).ahead == 0


def test_a_close_without_a_lease_takes_nothing_from_the_holder(
    run: NewRun, history: Steering
) -> None:
    """L9: a waiter that gives back gives back only what is its own."""
    holder, waiter = run(), run()
    grant = holder.granted()
    queued(waiter)
    waiter.close("skipped", "wait_expired", release=True, forget_slot=True)
    [lease] = history.leases([JOB])[JOB]
    assert lease.token == grant.token


def test_with_slots_as_many_waiters_go_ahead_as_are_free(run: NewRun) -> None:
    """L15, L16: two places are free: the first two go, the third waits."""
    holders = [run(slots=2) for _ in range(2)]
    waiting = [run(slots=2) for _ in range(3)]
    for one in holders:
        one.granted()
    for one in waiting:
        queued(one)
    for one in holders:
        one.close()
    assert queued(waiting[2]).ahead == 2
    assert isinstance(waiting[1].acquire(queue_for=LONG), Granted)
    assert isinstance(waiting[0].acquire(queue_for=LONG), Granted)
    assert isinstance(waiting[2].acquire(queue_for=LONG), Queued)


def test_a_given_back_lease_wakes_the_next_one(run: NewRun) -> None:
    """A waiter that watches need not ask each second: it is woken, and gets the lease."""
    holder, waiter = run(), run()
    holder.granted()
    queued(waiter)
    waiter.store.watch_job(now_ms())
    holder.close()
    assert isinstance(waiter.next(), Woken)
    assert isinstance(waiter.acquire(queue_for=LONG), Granted)


def test_what_was_given_back_before_the_watch_began_is_not_missed(run: NewRun) -> None:
    """Between being queued and watching, the holder may end."""
    holder, waiter = run(), run()
    holder.granted()
    queued(waiter)
    holder.close()
    waiter.store.watch_job(now_ms())
    assert isinstance(waiter.next(), Woken)


def test_only_who_is_next_is_woken(run: NewRun) -> None:
    """Two hundred waiters must not ask all at once: one lease wakes one of them."""
    holder, *waiting = [run() for _ in range(5)]
    holder.granted()
    for one in waiting:
        queued(one)
        one.store.watch_job(now_ms())
    holder.close()
    assert isinstance(waiting[0].next(), Woken)
    assert [one.store.events(now_ms()) for one in waiting[1:]] == [[]] * 3


def test_who_waits_for_a_waiter_that_leaves_is_woken(run: NewRun) -> None:
    """The lease is free and the first in the queue gives up: the second goes ahead."""
    holder, first, second = run(), run(), run()
    holder.granted()
    queued(first)
    queued(second)
    second.store.watch_job(now_ms())
    holder.close()
    first.close("skipped", "wait_expired", release=True)

    def goes_ahead() -> bool:
        woken = any(isinstance(event, Woken) for event in second.store.events(now_ms()))
        return woken and isinstance(second.acquire(queue_for=LONG), Granted)

    until(goes_ahead, "the second waiter to be woken")


def test_a_stop_request_reaches_a_watching_holder_at_once(run: NewRun, history: Steering) -> None:
    """`stop` is pushed: the holder need not come round to its next heartbeat."""
    one = run()
    one.granted()
    one.store.watch_job(now_ms())
    history.ask_stop(JOB, one.id, "alice@web-1")
    event = one.next()
    assert isinstance(event, StopAsked), shown(event)
    assert event.by == "alice@web-1"


def test_a_stop_request_reaches_a_watching_waiter(run: NewRun, history: Steering) -> None:
    """`stop` is for runs that wait, too."""
    holder, waiter = run(), run()
    holder.granted()
    queued(waiter)
    waiter.store.watch_job(now_ms())
    history.ask_stop(JOB, waiter.id, "alice")

    def is_stop(event: Event) -> bool:
        return isinstance(event, StopAsked)

    assert is_stop(waiter.next(is_stop))


def test_another_jobs_news_are_not_ours(run: NewRun, history: Steering, store: Harness) -> None:
    """What happens to other jobs, or other runs, wakes nobody here."""
    holder, waiter, stranger = run(), run(), run("other")
    holder.granted()
    stranger.granted()
    queued(waiter)
    waiter.store.watch_job(now_ms())
    stranger.close()
    history.ask_stop(JOB, holder.id, "alice")
    history.ask_stop(JOB, waiter.id, "bob")  # comes after all that: what came before is known
    event = waiter.next()
    assert isinstance(event, StopAsked), shown(event)
    assert event.by == "bob"
