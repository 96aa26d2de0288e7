"""Further locks: all of them and the job's own, or none; and nobody who waits holds any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from cronguard.admin.unlock import free_locks
from cronguard.core.events import (
    Event,
    Gone,
    Granted,
    Held,
    Queued,
    Refused,
    Renewed,
    StopAsked,
    Taken,
)
from cronguard.core.spec import Claim
from cronguard.stores.together import open_together
from tests.contract.harness import Harness, Run, Steering, new_claim, shown
from tests.contract.test_slots import DAY, PERIOD

Locked = Callable[..., Run]
LONG = 60_000


@pytest.fixture
def locked(store: Harness) -> Iterator[Locked]:
    """Make runs that need further locks."""
    made: list[Run] = []

    def make(job: str, locks: str, **more: object) -> Run:
        claim: Claim = new_claim(job, store.namespace, **more)
        made.append(Run(open_together(claim, locks, store.open), claim))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def held(event: Event) -> tuple[str, str]:
    """Return the lock that was in the way, and whose run has it."""
    assert isinstance(event, Held | Queued), shown(event)
    return event.lock, event.holder.job


def test_jobs_that_share_a_lock_exclude_each_other(locked: Locked, history: Steering) -> None:
    """The one is told which lock, and which job has it; when that ends, it has its turn."""
    backup, report = locked("backup", "db"), locked("report", "db")
    grant = backup.granted()
    assert held(report.acquire()) == ("db", "backup")
    assert history.leases(["report"])["report"] == []
    assert isinstance(backup.renew(grant), Renewed)
    backup.close()
    assert isinstance(report.acquire(), Granted)


def test_jobs_that_share_none_run_side_by_side(locked: Locked) -> None:
    """A lock is not a job, though both have one name."""
    runs = locked("backup", "db"), locked("report", "net"), locked("db", "backup")
    for one in runs:
        assert isinstance(one.acquire(), Granted)


def test_the_jobs_own_lock_counts_as_before(locked: Locked) -> None:
    """Two runs of a job with other locks: the second is held by the first, and keeps none."""
    first, second, third = locked("backup", "a"), locked("backup", "b"), locked("report", "b")
    first.granted()
    assert held(second.acquire()) == ("", "backup")
    assert isinstance(third.acquire(), Granted)


def test_all_or_none(locked: Locked) -> None:
    """What was got before the one that is not to be had is free again at once."""
    has_last, wants_all, wants_first = locked("x", "c"), locked("y", "a b c"), locked("z", "a b")
    has_last.granted()
    assert held(wants_all.acquire()) == ("c", "x")
    assert isinstance(wants_first.acquire(), Granted)


@pytest.mark.parametrize("order", [*permutations("abc")])
def test_who_waits_holds_nothing(locked: Locked, store: Harness, order: tuple[str, ...]) -> None:
    """In whatever order three jobs come that need two of three locks each, all have their turn."""
    if not store.has_queue:
        pytest.skip("a quorum has no fair queue")
    needs = {"a": "k l", "b": "l m", "c": "k m"}
    runs = [locked(job, needs[job]) for job in order]
    assert isinstance(runs[0].acquire(queue_for=LONG), Granted)
    for one in runs[1:]:
        assert isinstance(one.acquire(queue_for=LONG), Queued)
    for number, one in enumerate(runs):
        if number:
            event = one.acquire(queue_for=LONG)
            assert isinstance(event, Granted), (order, number, shown(event))
        for later in runs[number + 1 :]:
            assert isinstance(later.acquire(queue_for=LONG), Queued)
        one.close()


def test_a_lock_that_vanished_is_taken_back(locked: Locked, store: Harness) -> None:
    """By the next heartbeat, unless another job was granted it since: then the run has lost."""
    one, other = locked("backup", "db"), locked("report", "db")
    grant = one.granted()
    store.vanish("@db", 0)
    assert isinstance(one.renew(grant), Renewed)
    assert held(other.acquire()) == ("db", "backup")
    store.vanish("@db", 0)
    if isinstance(other.acquire(), Granted):
        lost = one.renew(grant)
        assert isinstance(lost, Taken), shown(lost)


def test_the_jobs_own_lease_is_the_machines_to_reclaim(locked: Locked, store: Harness) -> None:
    """Gone is told; the reclaim that follows renews the locks as well."""
    if not store.has_queue:
        pytest.skip("a quorum takes back by itself what one of its servers lost")
    one = locked("backup", "a b")
    grant = one.granted()
    store.vanish("backup", 0)
    gone = one.renew(grant)
    assert isinstance(gone, Gone), shown(gone)
    assert isinstance(one.reclaim(grant), Renewed)
    assert isinstance(one.renew(grant), Renewed)


def test_unlocking_a_job_frees_the_locks_of_its_run(locked: Locked, history: Steering) -> None:
    """Exactly these: what other runs hold stays, and that run never gets its own back."""
    one, other = locked("backup", "db net"), locked("report", "far")
    grant, others = one.granted(), other.granted()
    [lease] = history.leases(["backup"])["backup"]
    assert history.unlock(lease, "ann")
    assert free_locks(history, lease) == ["db", "net"]
    assert free_locks(history, lease) == []
    assert isinstance(other.renew(others), Renewed)
    assert isinstance(locked("third", "db net").acquire(), Granted)
    lost = one.renew(grant)
    assert isinstance(lost, Taken), shown(lost)


def test_locks_leave_no_job_behind(locked: Locked, history: Steering) -> None:
    """Nobody who lists jobs sees them, and they have no records."""
    one = locked("backup", "db")
    one.granted()
    one.close()
    assert history.jobs() == ["backup"]
    assert [record["outcome"] for record in history.runs("backup", 9)] == ["succeeded"]


def test_different_lease_times_are_no_conflict(locked: Locked) -> None:
    """Jobs that share a lock need not agree on --ttl, as runs of one job must."""
    one, other = locked("backup", "db", px=35_000), locked("report", "db", px=15_000)
    one.granted()
    assert held(other.acquire()) == ("db", "backup")
    one.close()
    assert isinstance(other.acquire(), Granted)


def test_replacing_asks_the_run_of_the_same_job_only(locked: Locked) -> None:
    """It has our locks, too, and is asked; a run of another job that has one is not."""
    one, heir, other = locked("backup", "db"), locked("backup", "db"), locked("report", "db")
    grant = one.granted()
    other.acquire(replace="replaced by other")
    renewed = one.renew(grant)
    assert isinstance(renewed, Renewed)
    assert renewed.stop_by is None
    heir.acquire(queue_for=LONG, replace="replaced by heir")
    renewed = one.renew(grant)
    assert isinstance(renewed, Renewed | StopAsked)
    assert not isinstance(renewed, Renewed) or renewed.stop_by == "replaced by heir"
    one.close("stopped", "replaced")
    assert isinstance(heir.acquire(queue_for=LONG), Granted)


def test_a_place_in_a_queue_is_left_for_another_locks(locked: Locked, store: Harness) -> None:
    """A run that waits for one lock is in nobody's way at another, where it waited before."""
    if not store.has_queue:
        pytest.skip("a quorum has no fair queue")
    has_late, has_early = locked("x", "m"), locked("y", "l")
    wants_both, wants_late = locked("both", "l m"), locked("late", "m")
    has_late.granted()
    assert held(wants_both.acquire(queue_for=LONG)) == ("m", "x")
    has_early.granted()
    assert held(wants_both.acquire(queue_for=LONG)) == ("l", "y")
    has_late.close()
    assert isinstance(wants_late.acquire(), Granted)


def test_what_was_given_back_before_is_given_back_again(locked: Locked, store: Harness) -> None:
    """Each time all is asked for and not to be had, nothing is left behind; also in a quorum."""
    in_the_way = locked("x", "b"), locked("y", "a")
    wants_all = locked("all", "a b")
    grant = in_the_way[0].granted()
    for _ in range(2):
        assert held(wants_all.acquire()) == ("b", "x")
    in_the_way[1].granted()
    assert held(wants_all.acquire()) == ("a", "y")
    assert isinstance(in_the_way[0].renew(grant), Renewed)
    for one in in_the_way:
        one.close()
    granted = wants_all.granted()
    assert isinstance(wants_all.renew(granted), Renewed)


@pytest.mark.parametrize("replace", ["", "replaced by heir"])
def test_a_slot_that_is_used_is_told_though_a_lock_is_in_the_way(
    locked: Locked, store: Harness, replace: str
) -> None:
    """A run of the same job has the lock, and is the one for our slot: nobody waits for that."""
    rules = {"rule": PERIOD, "slot_px": DAY}
    one, other = locked("backup", "db", **rules), locked("backup", "db", **rules)
    free, unruled = locked("report", "db"), locked("backup", "db")
    grant = one.granted()
    refused = other.acquire(queue_for=LONG, replace=replace)
    assert isinstance(refused, Refused), shown(refused)
    assert (refused.reason, refused.slot) == ("slot_done", grant.slot)
    other.close("skipped", "slot_done", release=False)
    renewed = one.renew(grant)
    assert isinstance(renewed, Renewed)
    assert renewed.stop_by is None
    assert held(unruled.acquire()) == ("db", "backup")
    one.close()
    assert isinstance(free.acquire(), Granted)
