"""The plan: decided by the seed alone, and within what the README assumes."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.chaos import plan
from tests.chaos.driver import FAULT_KINDS
from tests.chaos.plan import SKIP, STORES, Calm, Fault, make
from tests.chaos.sorts import FAULTS


@pytest.mark.parametrize("store", STORES)
def test_a_plan_is_a_function_of_its_seed(store: str) -> None:
    """The same seed gives the same plan, another one another."""
    assert make(store, 7, 300, 80) == make(store, 7, 300, 80)
    assert make(store, 7, 300, 80) != make(store, 8, 300, 80)


@pytest.mark.parametrize("store", STORES)
def test_a_full_plan_has_what_was_asked_for(store: str) -> None:
    """So many runs and faults, every kind of fault, and no job that the store would forget of."""
    full = make(store, 1, 10_000, 2_000)
    assert len(full.starts) == 10_000
    assert [start.run for start in full.starts] != []
    assert sorted(start.run for start in full.starts) == list(range(10_000))
    assert len(full.faults) >= 2_000
    assert {fault.kind for fault in full.faults} == set(FAULTS[store])
    assert max(Counter(start.job for start in full.starts).values()) <= 150


@pytest.mark.parametrize("store", STORES)
def test_faults_come_in_storms_and_the_calms_are_longer_than_a_lease(store: str) -> None:
    """Nothing fails in a calm, so that everything has to run again in it."""
    some = make(store, 3, 4_000, 300)
    calms = [step for step in some.steps if isinstance(step, Calm)]
    assert len(calms) >= 2
    for calm in calms:
        assert calm.for_ms > plan.TTL_MS + plan.TAKEOVER_MS + 5_000
        end = calm.at_ms + calm.for_ms
        assert not [fault for fault in some.faults if calm.at_ms <= fault.at_ms < end]
    assert list(some.steps) == sorted(some.steps, key=lambda step: step.at_ms)


@pytest.mark.parametrize("store", STORES)
def test_heavy_faults_come_one_at_a_time(store: str) -> None:
    """Each has its time, and what it needs to be over, before the next begins."""
    sorts = FAULTS[store]
    heavy = [fault for fault in make(store, 5, 4_000, 100).faults if sorts[fault.kind].is_heavy]
    assert heavy
    for earlier, later in itertools.pairwise(heavy):
        over = earlier.at_ms + earlier.for_ms + sorts[earlier.kind].rest_ms
        assert over <= later.at_ms


def test_every_fault_of_a_plan_can_be_done() -> None:
    """A kind has a function of that name, and none is of no use."""
    named = {kind for sorts in FAULTS.values() for kind in sorts}
    assert named == set(FAULT_KINDS)


@pytest.mark.parametrize("store", STORES)
def test_a_run_ends_so_that_it_can_be_told_from_a_skip(store: str) -> None:
    """No command ends with the status of a skip, or with one of cronguard's own."""
    endings = {start.ending for start in make(store, 1, 2_000, 10).starts}
    assert endings == {"0", "1", "7", "signal"}
    assert str(SKIP) not in endings
    for start in make(store, 1, 500, 10).starts:
        alone = start.is_prey and start.hunt == "late reply"
        replicated = store in ("sentinel", "cluster") and not alone
        assert ("--min-replicas" in start.options) == replicated


def test_durations_are_within_what_their_kind_says() -> None:
    """And most are short, as a lease outlives them."""
    for fault in make("redis", 2, 3_000, 800).faults:
        assert isinstance(fault, Fault)
        sort = FAULTS["redis"][fault.kind]
        assert sort.shortest_ms <= fault.for_ms <= sort.longest_ms
