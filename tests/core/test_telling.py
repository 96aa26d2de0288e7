"""What a run is to a reporter: every outcome, every streak."""

from __future__ import annotations

import pytest

from cronguard.core import record as records
from cronguard.core.telling import (
    ALL,
    FAILURE,
    FAILURES,
    MISSED,
    RECOVERY,
    SKIP,
    SKIPS,
    START,
    STOP,
    SUCCESS,
    WARNING,
    Rule,
    event_of,
)

EVERYTHING = Rule(ALL)


@pytest.mark.parametrize("outcome", records.OUTCOMES)
def test_every_outcome_is_an_event_to_who_wants_all(outcome: str) -> None:
    """No run ends unheard."""
    assert event_of(EVERYTHING, outcome, "", 0) in ALL


@pytest.mark.parametrize("outcome", records.OUTCOMES)
def test_nothing_is_told_to_who_wants_nothing(outcome: str) -> None:
    """An empty `on` is silence, whatever came before."""
    for streak in (None, 0, 7):
        assert event_of(Rule(()), outcome, "held", streak) == ""


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (records.RUNNING, START),
        (records.SUCCEEDED, SUCCESS),
        (records.SKIPPED, SKIP),
        (records.STOPPED, STOP),
        *[(outcome, FAILURE) for outcome in FAILURES],
    ],
)
def test_each_outcome_is_one_event(outcome: str, event: str) -> None:
    """After a run that succeeded."""
    assert event_of(EVERYTHING, outcome, "", 0) == event
    assert event_of(Rule([event]), outcome, "", 0) == event


def test_a_warning_is_told_as_one_whatever_the_outcome() -> None:
    """Also of a run that has ended."""
    assert event_of(EVERYTHING, records.SUCCEEDED, "", 0, warns=WARNING) == WARNING
    assert event_of(Rule([SUCCESS]), records.SUCCEEDED, "", 0, warns=WARNING) == ""
    assert event_of(Rule([WARNING]), records.SUCCEEDED, "", 0, warns=MISSED) == ""
    assert event_of(Rule([MISSED]), records.SUCCEEDED, "", 0, warns=MISSED) == MISSED


@pytest.mark.parametrize("outcome", FAILURES)
def test_one_kind_of_failure_can_be_asked_for(outcome: str) -> None:
    """`on = ["timed_out"]` hears of time-outs alone."""
    told = [other for other in FAILURES if event_of(Rule([outcome]), other, "", 0)]
    assert told == [outcome]


@pytest.mark.parametrize("reason", SKIPS)
def test_one_kind_of_skip_can_be_asked_for(reason: str) -> None:
    """A fleet skips on all hosts but one; only some of these skips are news."""
    told = [other for other in SKIPS if event_of(Rule([reason]), records.SKIPPED, other, 0)]
    assert told == [reason]


def failures_told(rule: Rule, count: int) -> list[int]:
    """Return which of *count* failures in a row are told, the first is 1."""
    told = [event_of(rule, records.FAILED, "", streak) for streak in range(count)]
    return [number for number, event in enumerate(told, 1) if event]


def test_failures_are_told_from_the_one_that_was_asked_for() -> None:
    """`after`, and `changes` on top of it."""
    assert failures_told(Rule([FAILURE]), 5) == [1, 2, 3, 4, 5]
    assert failures_told(Rule([FAILURE], 3), 5) == [3, 4, 5]
    assert failures_told(Rule([FAILURE], changes=True), 5) == [1]
    assert failures_told(Rule([FAILURE], 3, changes=True), 5) == [3]


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("after", [1, 3])
def test_a_recovery_follows_exactly_what_was_told(after: int, changes: bool) -> None:
    """Who heard of no failure hears of no recovery, and who did does."""
    rule = Rule([FAILURE, RECOVERY], after, changes=changes)
    for failures in range(6):
        told = failures_told(rule, failures)
        ends = event_of(rule, records.SUCCEEDED, "", failures)
        assert (ends == RECOVERY) is bool(told), failures


def test_a_recovery_is_a_success_to_who_asks_for_those() -> None:
    """And the other way round it is not."""
    assert event_of(Rule([SUCCESS]), records.SUCCEEDED, "", 5) == SUCCESS
    assert event_of(Rule([RECOVERY]), records.SUCCEEDED, "", 0) == ""


def test_a_failure_is_told_where_nobody_knows_how_many_there_were() -> None:
    """The store was away: better once too often. A recovery is not made up."""
    rule = Rule([FAILURE, RECOVERY], 3, changes=True)
    assert event_of(rule, records.STORE_UNAVAILABLE, "", None) == FAILURE
    assert event_of(rule, records.SUCCEEDED, "", None) == ""
