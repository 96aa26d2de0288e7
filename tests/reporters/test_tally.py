"""What reports add up to: the same metrics as the store's, of what was heard here."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cronguard.core import record as records
from cronguard.core.metrics import ENDED, TABLE
from cronguard.core.sheet import as_text
from cronguard.core.telling import FAILURE, STOP
from cronguard.reporters import tally
from cronguard.reporters.contract import Report
from cronguard.reporters.tally import KEPT_IDS, Tally, decode, encode

from .samples import AT, HOSTILE, ended, report, run_id, skipped, started, warned


def heard(*reports: Report) -> Tally:
    """Return what they add up to, kept as text after each."""
    one = Tally()
    for told in reports:
        one.take(told)
        one = decode(encode(one))
    return one


class Told:
    """The samples of a tally."""

    def __init__(self, of: Tally) -> None:
        text = as_text(of.sheet("backup", {}).families()).decode()
        self.families = list(text_string_to_metric_families(text))
        self.all = {
            (one.name, tuple(sorted(one.labels.items()))): one.value
            for family in self.families
            for one in family.samples
        }

    def of(self, name: str, **labels: str) -> float | None:
        """Return `cronguard_NAME` of the job, or None."""
        key = tuple(sorted({"job": "backup", **labels}.items()))
        return self.all.get((f"cronguard_{name}", key))


def test_runs_and_skips_are_counted() -> None:
    """By outcome and by reason; what was not there yet is zero."""
    told = Told(
        heard(
            ended(),
            ended(),
            ended(records.FAILED),
            ended(records.STORE_UNAVAILABLE),
            skipped("held"),
            skipped("slot_done"),
            skipped("conflict"),
            skipped(HOSTILE),
        )
    )
    counts = {one: told.of("runs_total", outcome=one) for one in ENDED}
    expected = {records.SUCCEEDED: 2, records.FAILED: 1, records.STORE_UNAVAILABLE: 1}
    assert counts == dict.fromkeys(ENDED, 0) | expected
    reasons = ("held", "slot_done", "paused", "other")
    assert [told.of("skips_total", reason=one) for one in reasons] == [1, 1, 0, 2]
    locks = ("attempts", "acquired", "contended", "errors")
    assert [told.of(f"lock_{one}_total") for one in locks] == [8, 3, 1, 1]


def test_the_newest_run_tells_what_it_took() -> None:
    """In base units; a run that is told late does not pass for the newest."""
    newest = ended(records.FAILED, at=AT + 5000, took=2500, exit_status=3)
    late = ended(at=AT, took=100, exit_status=0)
    told = Told(heard(ended(at=AT - 1), newest, late))
    assert told.of("last_exit_status") == 3
    assert told.of("last_run_duration_seconds") == 2.5
    assert told.of("last_run_cpu_seconds") == 1.5
    assert told.of("last_run_max_rss_bytes") == 7_000_000
    assert told.of("last_success_timestamp_seconds") == AT / 1000
    assert told.of("last_failure_timestamp_seconds") == AT / 1000 + 5
    assert told.of("last_start_timestamp_seconds") == AT / 1000 + 2.5
    assert told.of("heartbeat_longest_gap_seconds") == 5.2


def test_an_exit_status_stays_until_another_run_has_one() -> None:
    """A run that could not start has none."""
    told = Told(
        heard(
            ended(records.FAILED, exit_status=9),
            ended(records.NOT_STARTED, at=AT + 1, exit_status=None),
        )
    )
    assert told.of("last_exit_status") == 9


def test_durations_are_those_of_successes_and_waits_those_of_all() -> None:
    """With the bars of the table's ladder; of the last runs only."""
    runs = [ended(took=2000) for _ in range(records.KEPT_RUNS)]
    told = Told(heard(ended(took=10), *runs[:-1], ended(records.FAILED, took=5, wait_ms=90)))
    assert told.of("run_duration_seconds_count") == records.KEPT_RUNS - 1
    assert told.of("run_duration_seconds_bucket", le="1.0") == 0
    assert told.of("run_duration_seconds_bucket", le="2.0") == records.KEPT_RUNS - 1
    assert told.of("lock_wait_seconds_count") == records.KEPT_RUNS
    assert told.of("lock_wait_seconds_bucket", le="0.05") == records.KEPT_RUNS - 1
    assert told.of("lock_wait_seconds_bucket", le="0.1") == records.KEPT_RUNS
    assert told.of("runs_total", outcome="succeeded") == records.KEPT_RUNS


def test_a_run_is_under_way_from_its_start_to_its_end() -> None:
    """Several at a time, too; a warning and a skip change nothing in it."""
    one, two = run_id(), run_id()
    begun = [started(one), started(two)]
    assert Told(heard(*begun)).of("running_runs") == 2
    assert Told(heard(*begun, warned(one), skipped())).of("running_runs") == 2
    assert Told(heard(*begun, ended(run_id=one))).of("running_runs") == 1
    assert Told(heard(*begun, ended(run_id=one), ended(run_id=two))).of("running_runs") == 0


def test_a_start_that_comes_after_its_end_starts_nothing() -> None:
    """Nor does one that is told twice."""
    run = run_id()
    assert Told(heard(ended(run_id=run), started(run))).of("running_runs") == 0
    assert Told(heard(started(run), started(run))).of("running_runs") == 1


def test_a_run_whose_keeper_is_gone_is_taken_off() -> None:
    """Of the others nothing is known to be wrong."""
    one, two = run_id(), run_id()
    found = heard(started(one, pid=7), started(two, pid=8))
    found.forget(lambda run: run.pid == 7)
    assert list(found.running) == [two]


@pytest.mark.parametrize("told", [ended(), ended(records.FAILED), skipped()])
def test_a_report_that_comes_twice_counts_once(told: Report) -> None:
    """Also after others; and that it was no news is said."""
    one = heard(told)
    before = encode(one)
    assert not one.take(told)
    assert encode(one) == before
    many = heard(told)
    for _ in range(KEPT_IDS - 1):
        many.take(skipped())
    assert not many.take(told)


def test_an_abandoned_run_is_told_by_the_run_after_it() -> None:
    """That one is the newest; and the dead one is under way no more."""
    dead, run = run_id(), run_id()
    ends = ended(run_id=run, at=AT + 9000, took=500)
    gone = {"run_id": dead, "started_at": records.utc(AT)}
    found = report(FAILURE, records.ABANDONED, at=AT + 9003, failures=1, **gone)
    told = Told(heard(started(dead), started(run, at=AT + 8500), found, ends))
    assert told.of("running_runs") == 0
    assert told.of("abandoned_runs") == 1
    assert told.of("last_run_duration_seconds") == 0.5
    assert told.of("consecutive_failures") == 0
    assert told.of("last_failure_timestamp_seconds") == AT / 1000


def test_an_abandoned_run_that_was_alive_is_taken_off() -> None:
    """Its own end counts, once; that it was abandoned is no news any more."""
    run = run_id()
    found = report(FAILURE, records.ABANDONED, failures=1, run_id=run)
    one = heard(found, found, ended(run_id=run), ended(run_id=run), found, started(run))
    told = Told(one)
    assert told.of("abandoned_runs") == 0
    assert told.of("runs_total", outcome="succeeded") == 1
    assert told.of("running_runs") == 0


def test_failures_in_a_row_are_the_fleets_where_they_are_known() -> None:
    """And what was heard here where they are not."""
    assert heard().failures is None
    assert heard(ended(records.FAILED, failures=7)).failures == 7
    assert heard(ended(records.FAILED, failures=7), ended(failures=7)).failures == 0
    assert heard(started(run_id(), failures=3)).failures == 3
    assert heard(ended(records.FAILED, failures=7), skipped()).failures == 7
    away = report(FAILURE, records.STORE_UNAVAILABLE, failures=None)
    assert heard(away).failures == 1
    assert heard(ended(records.FAILED, failures=7), away).failures == 8


def test_a_run_that_was_stopped_is_no_success() -> None:
    """As the stores count; the report's number is then of those before it."""
    found = heard(ended(records.STOPPED, event=STOP, failures=2))
    assert found.failures == 3
    assert "last_success" not in found.counters


def test_what_only_the_store_knows_is_left_out() -> None:
    """A host cannot tell what waits, or whether its skip was another's start."""
    told = Told(heard(started(run_id()), ended(), ended(records.FAILED), skipped()))
    names = {family.name for family in told.families}
    assert names < set(TABLE)
    assert set(TABLE) - names == {
        f"cronguard_{one}"
        for one in (
            *("up", "scrape_errors", "scrape_duration_seconds", "damaged", "heartbeat_age_seconds"),
            *("waiting_runs", "paused", "consecutive_skips", "overdue", "missed_runs"),
        )
    }


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(facts=st.dictionaries(st.sampled_from(records.FIELDS), ODD, max_size=8))
def test_no_record_is_too_odd(facts: dict[str, object]) -> None:
    """Whatever a field holds, metrics come of it that can be kept and read."""
    odd = ended(records.FAILED)
    odd.record = {**odd.record, **facts}
    one = heard(odd)
    Told(one)
    assert encode(decode(encode(one))) == encode(one)


@given(field=st.sampled_from(sorted(json.loads(encode(Tally())))), value=ODD)
def test_no_kept_text_is_too_odd(field: str, value: object) -> None:
    """It is as we write it, or refused; and what is taken makes metrics."""
    said = json.loads(encode(heard(started(run_id()), ended(), skipped())))
    said[field] = value
    try:
        found = decode(json.dumps(said))
    except ValueError:
        return
    Told(found)
    found.take(ended())
    Told(decode(encode(found)))


@pytest.mark.parametrize(
    "change",
    [
        {"counters": {"succeeded": 10**400}},
        {"counters": {"succeeded": -1}},
        {"counters": {"succeeded": 1.5}},
        {"counters": {"evil": 1}},
        {"runs": [[1, 2]]},
        {"runs": [[1, 2, 3]] * 201},
        {"last": [True, None, None, None, None]},
        {"running": {"a": ["h", 1]}},
        {"running": {"a": [1, 1, 1]}},
        {"done": ["x" * 65]},
        {"done": ["x"] * 501},
        {"dead": [7]},
        {"schema": 2},
    ],
)
def test_a_kept_text_that_is_not_ours_is_refused(change: dict[str, object]) -> None:
    """In any of its parts."""
    said = json.loads(encode(heard(ended())))
    decode(json.dumps(said))
    with pytest.raises(ValueError, match=r"\w"):
        decode(json.dumps(said | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "[" * 100_000, '"\ud800"'])
def test_a_kept_text_that_is_nonsense_is_refused(text: str) -> None:
    """Also when it is deeper than anybody reads."""
    with pytest.raises(ValueError, match=r"\w"):
        decode(text)


def test_what_is_kept_is_bounded() -> None:
    """After any number of runs, that start and never end, too."""
    one = Tally()
    for number in range(3 * KEPT_IDS):
        one.take(started(run_id(), host=HOSTILE * 100))
        one.take(ended(run_id="x" * 1000 + str(number)))
        one.take(ended())
    assert len(encode(one)) < tally.KEPT_IDS * 200 + 600_000
    assert decode(encode(one)).counters == one.counters
