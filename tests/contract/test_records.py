"""Records and counters: every run, skip and crash leaves one; the newest are kept."""

from __future__ import annotations

import json

import pytest

from cronguard.core.record import FIELDS, KEPT_FAILURES, KEPT_RUNS, KEPT_SKIPS, complete, encode
from cronguard.stores.contract import Acquire, Close
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, Harness, Run, Steering, new_claim, wall_ms

WEIRD = (
    'say "token":null and "outcome":"running"',
    '{"token":null,"outcome":"running"}',
    "\0 NUL, \x1b[31m, \x7f, \r\n",
    "\udc80\udcff surrogates, \ud800",
    "ß 漢字 🎉 \u2028",
    "%s %% ' -- ; \\ \\\" $1 {} ]]",
    "",
)


def test_a_grant_leaves_a_start_record_with_its_token(run: NewRun, history: Steering) -> None:
    """P22: the start is on record before the child runs, with the token of the grant."""
    one = run()
    grant = one.granted(command="/bin/true")
    [record] = history.runs(JOB, 10)
    assert tuple(record) == FIELDS
    assert record["token"] == grant.token
    assert record["outcome"] == "running"
    assert record["command"] == "/bin/true"
    assert history.last([JOB, "unknown"]) == {JOB: record}


@pytest.mark.parametrize("weird", WEIRD, ids=range(len(WEIRD)))
def test_weird_content_comes_back_as_it_was(
    run: NewRun, store: Harness, history: Steering, weird: str
) -> None:
    """O2, O4: what a command or its output contains never changes what the store does."""
    one, two = run(), run()
    grant = one.granted(command=[weird, weird], user=weird)
    [record] = history.runs(JOB, 10)
    assert (record["command"], record["user"]) == ([weird, weird], weird)
    assert (record["token"], record["outcome"]) == (grant.token, "running")
    store.vanish(JOB, 0)
    two.granted()
    abandoned = history.runs(JOB, 10)[1]
    assert (abandoned["command"], abandoned["outcome"]) == ([weird, weird], "abandoned")
    two.ask(
        Close(
            two.record(outcome="failed", output_tail=weird), outcome="failed", ended_wall=wall_ms()
        )
    )
    assert history.runs(JOB, 1)[0]["output_tail"] == weird


def test_a_large_record_is_kept(run: NewRun, history: Steering) -> None:
    """O1: the tail of the output may be long."""
    one = run()
    one.granted()
    tail = "0123456789abcdef" * 65_536
    text = one.record(outcome="failed", output_tail=tail)
    one.ask(Close(text, outcome="failed", ended_wall=wall_ms()))
    assert history.runs(JOB, 1)[0]["output_tail"] == tail


def test_the_end_record_replaces_the_start_record(run: NewRun, history: Steering) -> None:
    """One run, one record."""
    one = run()
    one.granted()
    one.close("failed", "of old age")
    [record] = history.runs(JOB, 10)
    assert (record["outcome"], record["reason"]) == ("failed", "of old age")


def test_a_vanished_keeper_is_found_abandoned_by_the_next(run: NewRun, store: Harness) -> None:
    """L17, P22, H12: the next grant closes the record of a run that has no lease any more."""
    one, two = run(), run()
    one.granted()
    store.vanish(JOB, 0)
    two.granted()
    side = store.history()
    assert [record["outcome"] for record in side.runs(JOB, 10)] == ["running", "abandoned"]
    counters = side.counters([JOB])[JOB]
    assert (counters["abandoned"], counters["failures_in_a_row"]) == (1, 1)
    side.close()


@pytest.mark.parametrize("way", ["runs", "last"])
def test_a_vanished_keeper_is_found_abandoned_by_a_reader(
    run: NewRun, store: Harness, history: Steering, way: str
) -> None:
    """P22: reading closes what was left behind, once."""
    one = run()
    one.granted()
    store.vanish(JOB, 0)
    for _ in range(2):
        record = history.runs(JOB, 1)[0] if way == "runs" else history.last([JOB])[JOB]
        assert record["outcome"] == "abandoned"
    assert history.counters([JOB])[JOB]["abandoned"] == 1


def test_a_reader_does_not_close_what_runs(run: NewRun, history: Steering) -> None:
    """P22: a run with a live lease is running; a run with slots beside it as well."""
    one, two = run(slots=2), run(slots=2)
    one.granted()
    two.granted()
    assert [record["outcome"] for record in history.runs(JOB, 10)] == ["running", "running"]


def test_a_reclaimed_run_is_not_abandoned(run: NewRun, store: Harness, history: Steering) -> None:
    """L6, P22: a reader took it for abandoned while its lease was gone; it came back."""
    one = run()
    grant = one.granted()
    store.vanish(JOB, 0)
    assert history.runs(JOB, 1)[0]["outcome"] == "abandoned"
    one.reclaim(grant)
    assert history.runs(JOB, 1)[0]["outcome"] == "running"
    one.close()
    counters = history.counters([JOB])[JOB]
    assert (counters.get("abandoned", 0), counters["succeeded"]) == (0, 1)
    assert counters["failures_in_a_row"] == 0


def test_a_late_end_replaces_an_abandoned_record(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L9, P22: it was not dead, only late: record and counters say what really happened."""
    one, two = run(), run()
    one.granted()
    store.vanish(JOB, 0)
    two.granted()
    one.close("lease_lost", release=False)
    two.close()
    records = {record["run_id"]: record["outcome"] for record in history.runs(JOB, 10)}
    assert records == {one.id: "lease_lost", two.id: "succeeded"}
    counters = history.counters([JOB])[JOB]
    assert counters.get("abandoned", 0) == 0
    assert (counters["lease_lost"], counters["succeeded"]) == (1, 1)


def test_counters_tell_how_a_job_fares(run: NewRun, history: Steering) -> None:
    """One counter an outcome, failures in a row, skips since the last run, and when."""
    assert history.counters([JOB]) == {JOB: {}}
    before = wall_ms()
    for outcome in ("failed", "succeeded", "failed", "timed_out"):
        one = run()
        one.granted()
        one.close(outcome)
    for reason in ("held", "held", "paused"):
        run().close("skipped", reason, release=False)
    counters = history.counters([JOB])[JOB]
    expected = {"failed": 2, "succeeded": 1, "timed_out": 1, "skipped": 3}
    expected |= {"skipped:held": 2, "skipped:paused": 1, "skips_since_run": 3}
    expected |= {"failures_in_a_row": 2}
    assert {name: counters[name] for name in expected} == expected
    assert before - 5 <= counters["last_success"] <= counters["last_failure"] <= wall_ms() + 5
    assert before - 5 <= counters["last_start"] <= counters["last_failure"] + 5
    one = run()
    one.granted()
    assert history.counters([JOB])[JOB]["skips_since_run"] == 0
    one.close("succeeded")
    assert history.counters([JOB])[JOB]["failures_in_a_row"] == 0


def test_skips_are_kept_apart_from_runs(run: NewRun, history: Steering) -> None:
    """`why` asks for skips, `history` for runs."""
    one, two = run(), run()
    one.granted()
    one.close()
    two.close("skipped", "held", release=False, forget_slot=True)
    assert [record["run_id"] for record in history.runs(JOB, 10)] == [one.id]
    assert [record["run_id"] for record in history.skips(JOB, 10)] == [two.id]
    assert history.last([JOB])[JOB]["run_id"] == one.id


def test_the_newest_records_come_first_and_no_more_than_asked(
    run: NewRun, history: Steering
) -> None:
    """Lists begin with the newest."""
    ids: list[str] = []
    for _ in range(5):
        one = run()
        one.granted()
        one.close()
        ids.insert(0, one.id)
    assert [record["run_id"] for record in history.runs(JOB, 3)] == ids[:3]
    assert [record["run_id"] for record in history.runs(JOB, 100)] == ids
    assert history.runs(JOB, 0) == []


def test_runs_and_failures_beyond_them_are_kept(store: Harness, history: Steering) -> None:
    """The last runs are kept, and beyond them the last failures; nothing else."""
    asked = KEPT_RUNS + KEPT_FAILURES + 40
    made = many(
        store, asked, lambda number: "failed" if number < KEPT_FAILURES + 20 else "succeeded"
    )
    kept = history.runs(JOB, 10_000)
    newest = [run_id for run_id, _ in reversed(made)]
    assert [record["run_id"] for record in kept[:KEPT_RUNS]] == newest[:KEPT_RUNS]
    failures = [run_id for run_id, outcome in reversed(made[:-KEPT_RUNS]) if outcome == "failed"]
    assert [record["run_id"] for record in kept[KEPT_RUNS:]] == failures[:KEPT_FAILURES]
    assert history.counters([JOB])[JOB]["failed"] == KEPT_FAILURES + 20


def test_an_open_run_is_never_forgotten(run: NewRun, store: Harness, history: Steering) -> None:
    """A run of weeks beside many short ones keeps its record."""
    one = run(slots=2)
    one.granted()
    many(store, KEPT_RUNS + 5, lambda _: "succeeded", slots=2)
    one.close("failed")
    assert history.find(one.id)[0]["outcome"] == "failed"


def test_only_the_last_skips_are_kept(store: Harness, history: Steering) -> None:
    """Skips are counted, and the last ones kept."""
    claim = new_claim(JOB, store.namespace)
    opened = store.open(claim)
    one = Run(opened, claim)
    ids: list[str] = []
    for number in range(KEPT_SKIPS + 5):
        claim.owner.run_id = one.id = f"{number:032x}"
        one.close("skipped", "held", release=False)
        ids.insert(0, one.id)
    opened.close()
    assert [record["run_id"] for record in history.skips(JOB, 10_000)] == ids[:KEPT_SKIPS]
    assert history.counters([JOB])[JOB]["skipped:held"] == KEPT_SKIPS + 5


def test_a_run_is_found_by_the_beginning_of_its_id(run: NewRun, history: Steering) -> None:
    """`show` takes as much of a run id as one cares to type."""
    one, two = run("a"), run("b")
    one.granted()
    two.close("skipped", "held", release=False)
    assert [record["run_id"] for record in history.find(one.id[:12])] == [one.id]
    assert [record["run_id"] for record in history.find(two.id)] == [two.id]
    for none in ("zz", "*", "%", "_", one.id + "0"):
        assert history.find(none) == []


def test_jobs_that_ever_asked_are_listed(run: NewRun, history: Steering) -> None:
    """`status` knows every job."""
    assert history.jobs() == []
    for job in ("b", "a.b:c-d", "a"):
        run(job).granted()
    assert history.jobs() == ["a", "a.b:c-d", "b"]


def test_a_record_is_what_was_stored(run: NewRun, history: Steering) -> None:
    """What is read is the JSON that was written, with nothing but the token put in."""
    one = run()
    facts = complete({"job": JOB, "run_id": one.id, "outcome": "running", "host": "web-3"})
    one.ask(Acquire(encode(facts)))
    [record] = history.runs(JOB, 1)
    token = record.pop("token")
    assert isinstance(token, int)
    assert record == {name: v for name, v in json.loads(encode(facts)).items() if name != "token"}


def many(store: Harness, number: int, outcome: object, slots: int = 1) -> list[tuple[str, str]]:
    """Run a job many times, by one connection; return (run id, outcome), oldest first."""
    assert callable(outcome)
    claim = new_claim(JOB, store.namespace, slots=slots)
    opened = store.open(claim)
    one = Run(opened, claim)
    made = []
    for count in range(number):
        claim.owner.run_id = one.id = f"{count:032x}"
        made.append((one.id, outcome(count)))
        one.granted()
        one.close(made[-1][1])
    opened.close()
    return made


def test_a_grant_tells_how_many_failed_before(run: NewRun, store: Harness) -> None:
    """A recovery, or the third failure in a row, is known without a further question."""
    told = []
    for outcome, reason in (
        ("failed", ""),
        ("timed_out", ""),
        ("skipped", "held"),
        ("vanished", ""),
        ("failed", ""),
        ("succeeded", ""),
        ("succeeded", ""),
    ):
        one = run()
        if outcome == "skipped":
            one.close(outcome, reason)
            continue
        grant = one.granted()
        told.append(grant.failures)
        assert one.granted().failures == grant.failures, "asked again"
        if outcome == "vanished":
            store.vanish(JOB, 0)
        else:
            one.close(outcome, reason)
    assert told == [0, 1, 2, 3, 4, 0]
