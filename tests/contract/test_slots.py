"""Slots: at most one run for each, chosen by the store's clock, whatever this host's says."""

from __future__ import annotations

from contextlib import closing

import pytest

from cronguard.core.events import Granted, Held, OffSchedule, Queued, Refused, Renewed, Taken
from cronguard.core.record import utc
from cronguard.core.slot import among, every
from cronguard.stores.contract import Acquire, History
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, Harness, shown, wall_ms

DAY = 86_400_000
PERIOD = every(4 * DAY)
"""No test sees its border, unless it runs in that very moment, once in four days."""


def slot_of(event: object) -> int:
    assert isinstance(event, Granted | Refused), event
    return event.slot


def test_a_run_is_for_the_nearest_multiple_of_its_period(run: NewRun, history: History) -> None:
    """L13: told in the grant, and in the record as a moment."""
    one = run(rule=PERIOD, slot_px=DAY)
    slot = slot_of(one.granted())
    assert slot % (4 * DAY) == 0
    assert abs(slot - wall_ms()) <= 2 * DAY
    assert history.runs(JOB, 1)[0]["slot"] == utc(slot)


def test_a_job_of_a_moment_uses_its_slot_up(run: NewRun) -> None:
    """L13: whoever comes late is told who had it, and since when."""
    one, two = run(rule=PERIOD, slot_px=DAY), run(rule=PERIOD, slot_px=DAY)
    slot = slot_of(one.granted())
    one.close()
    refused = two.acquire()
    assert isinstance(refused, Refused), shown(refused)
    assert (refused.reason, refused.slot) == ("slot_done", slot)
    assert refused.holder is not None
    assert (refused.holder.run_id, refused.holder.host) == (one.id, "web-3")


def test_a_run_is_for_the_nearest_of_some_moments(run: NewRun) -> None:
    """L13: the store's clock decides between those that it is told of."""
    now = wall_ms()
    near, far = now - DAY, now + 2 * DAY
    assert slot_of(run(rule=among([near, far]), slot_px=DAY).granted()) == near


def test_a_clock_outside_of_the_moments_is_told(run: NewRun) -> None:
    """L13: this host's clock is far off; nothing is granted, and it can ask again."""
    now = wall_ms()
    for number, moments in enumerate(([now + DAY, now + 2 * DAY], [now - 2 * DAY, now - DAY])):
        one = run(rule=among(moments), slot_px=DAY)
        event = one.acquire()
        assert isinstance(event, OffSchedule), shown(event)
        assert abs(event.clock - now) < DAY // 2
        near = now - DAY + number
        one.claim.rule = among([near, now + 4 * DAY])
        assert slot_of(one.granted()) == near
        one.close()


def test_a_run_that_was_abandoned_frees_its_slot(run: NewRun, store: Harness) -> None:
    """L13, H1: its lease is gone and it never ended; also when a reader has closed its record."""
    one, two, three = [run(rule=PERIOD, slot_px=DAY) for _ in range(3)]
    grant = one.granted()
    assert isinstance(two.acquire(), Refused)
    store.vanish(JOB, grant.index)
    again = two.granted()
    store.vanish(JOB, again.index)
    with closing(store.history()) as side:
        side.last([JOB])
    three.granted()


def test_a_holder_that_is_proven_dead_frees_its_slot(run: NewRun) -> None:
    """L12, L13: at once, as it frees its lease."""
    one, two = run(rule=PERIOD, slot_px=DAY), run(rule=PERIOD, slot_px=DAY)
    one.granted()
    two.granted(evict=one.id)


def test_a_run_keeps_the_slot_that_it_was_first_told(run: NewRun) -> None:
    """L13: it waited for the lock, and is still the run for the moment at which it came."""
    now = wall_ms()
    holder = run()
    holder.granted()
    one = run(rule=among([now - DAY, now + 2 * DAY]), slot_px=DAY)
    event = one.acquire(queue_for=60_000)
    assert isinstance(event, Held | Queued), shown(event)
    one.claim.rule = among([now - 3 * DAY, now + DAY // 2])
    holder.close()
    assert slot_of(one.granted()) == now - DAY


def test_a_run_that_leaves_the_schedule_alone_uses_nothing(run: NewRun) -> None:
    """L13: a manual run, before and after the one of the slot."""
    manual, scheduled, late = run(), run(rule=PERIOD, slot_px=DAY), run()
    assert slot_of(manual.granted()) == 0
    manual.close()
    scheduled.granted()
    scheduled.close()
    late.granted()


def test_a_lease_is_moved_to_the_slot_that_is_named(run: NewRun, history: History) -> None:
    """L13, R19: another server of a quorum was asked first; the first slot is free again."""
    now = wall_ms()
    moments = among([now - DAY, now + 2 * DAY])
    one, two, three = [run(rule=moments, slot_px=DAY) for _ in range(3)]
    assert slot_of(one.granted()) == now - DAY
    moved = one.ask(Acquire(one.record(), slot=now + 2 * DAY))
    if history.label.startswith(("quorum", "sqlite")):
        return  # the one moves its servers' leases by itself, the other is alone
    assert slot_of(moved) == now + 2 * DAY
    assert history.runs(JOB, 1)[0]["slot"] == utc(now + 2 * DAY)
    one.close()
    two.granted()
    two.close()
    late = three.ask(Acquire(three.record(), slot=now + 2 * DAY))
    assert isinstance(late, Refused), shown(late)


def test_a_slot_that_was_lost_with_the_lease_is_used_up_again(run: NewRun, store: Harness) -> None:
    """L13: the store lost everything, and the run took its lease again: no other has its slot."""
    one, two = run(rule=PERIOD, slot_px=DAY), run(rule=PERIOD, slot_px=DAY)
    grant = one.granted()
    store.lose_everything()
    assert isinstance(one.reclaim(grant), Renewed)
    one.close()
    refused = two.acquire()
    assert isinstance(refused, Refused), shown(refused)
    assert refused.reason == "slot_done"


def test_a_lease_is_not_taken_again_for_a_slot_that_another_run_has(
    run: NewRun, store: Harness
) -> None:
    """L13: with several at a time another run may be granted the slot beside the lost lease."""
    if not store.has_queue:
        pytest.skip("a quorum cannot count to more than one")
    before, one, two = run(slots=2), *[run(rule=PERIOD, slot_px=DAY, slots=2) for _ in range(2)]
    before.granted()
    grant = one.granted()
    store.lose_everything()
    assert two.granted().index != grant.index
    lost = one.reclaim(grant)
    assert isinstance(lost, Taken), shown(lost)
