"""What `status` and `ps` see of many jobs: the same as one question after the other would tell."""

from __future__ import annotations

from cronguard.core.events import Queued
from cronguard.stores.contract import Close, Lease
from tests.contract.conftest import NewRun
from tests.contract.harness import Harness, Steering, until, wall_ms


def shown(leases: list[Lease]) -> list[tuple[object, ...]]:
    """Return what of leases does not change while time goes by."""
    return [
        (one.job, one.index, one.owner.run_id, one.owner.host, one.token, one.px, one.released)
        for one in leases
    ]


def test_an_overview_is_what_single_questions_tell(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """A job that runs and has a queue, one that is over, one of skips, one that never was."""
    queue = 60_000 if store.has_queue else 0
    run("live").granted()
    waiters = [run("live"), run("live")]
    for waiter in waiters:
        assert isinstance(waiter.acquire(queue_for=queue), Queued) is bool(queue)
    over = run("over")
    over.granted()
    over.close("failed", reason="none")
    run("skips").close("skipped", reason="held")
    history.pause("over", wall_ms() + 60_000, "a new disk", "alice")
    jobs = ["live", "over", "skips", "unheard-of"]
    assert history.paused("over")
    found = history.overview(jobs)
    assert list(found) == jobs
    leases, last, counters = history.leases(jobs), history.last(jobs), history.counters(jobs)
    for job in jobs:
        seen = found[job]
        assert shown(seen.leases) == shown(leases[job])
        assert seen.waiting == history.waiters(job)
        assert seen.last == last.get(job)
        assert seen.paused == history.paused(job)
        assert seen.counters == counters[job]
    assert found["live"].waiting == [one.id for one in waiters if queue]
    assert found["over"].last is not None
    assert found["over"].last["outcome"] == "failed"
    assert history.overview([]) == {}


def test_an_overview_has_the_record_of_each_run_under_way(run: NewRun, history: Steering) -> None:
    """Also of those that are not the newest of their job."""
    runs = [run("many", slots=3) for _ in range(3)]
    for one in runs:
        one.granted(command=["job", one.id])
    seen = history.overview(["many"])["many"]
    assert {id_: record["command"] for id_, record in seen.records.items()} == {
        one.id: ["job", one.id] for one in runs
    }


def test_a_live_overview_leaves_out_what_is_not_locked(run: NewRun, history: Steering) -> None:
    """`ps` over thousands of idle jobs is not sent their records."""
    over, live = run("over"), run("live")
    over.granted()
    over.close()
    live.granted()
    assert list(history.overview(["over", "live"], live=True)) == ["live"]


def test_an_overview_closes_what_a_vanished_keeper_left(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """P22: as every other reader does."""
    run("gone").granted()
    store.vanish("gone", 0)
    seen = history.overview(["gone"])["gone"]
    assert seen.leases == []
    assert seen.records == {}
    assert seen.last is not None
    assert seen.last["outcome"] == "abandoned"
    assert seen.counters["abandoned"] == 1
    assert history.overview(["gone"], live=True) == {}


def test_an_overview_shows_a_lock_that_is_only_kept(run: NewRun, history: Steering) -> None:
    """L12: `min_hold` keeps the lock of a run that is over."""
    one = run("kept", min_hold=60_000)
    one.granted()
    one.close()
    seen = history.overview(["kept"], live=True)["kept"]
    assert [lease.released for lease in seen.leases] == [True]
    assert seen.last is not None
    assert seen.last["outcome"] == "succeeded"


def test_an_overview_leaves_out_who_does_not_wait_any_more(run: NewRun, history: Steering) -> None:
    """L14: a waiter that was not heard of for its time is not shown."""
    run("job").granted()
    run("job").acquire(queue_for=1)
    begun = wall_ms()
    until(lambda: wall_ms() > begun + 5, "the waiter to be late")
    assert history.overview(["job"])["job"].waiting == []


def test_recent_runs_are_read_without_their_output(run: NewRun, history: Steering) -> None:
    """The newest first, so many of each job, with all that stands before the output; no skips."""
    runs = [run("many") for _ in range(4)]
    for one in runs:
        one.granted()
        words = ["job", ',"output_tail":"', one.id]
        text = one.record(outcome="failed", command=words, output_bytes=9, output_tail="x" * 9)
        one.ask(Close(text, outcome="failed", ended_wall=wall_ms()))
    run("many").close("skipped", reason="held")
    run("other").granted()
    found = history.recent(["many", "other", "unheard-of"], 3)
    assert list(found) == ["many", "other", "unheard-of"]
    assert [record["run_id"] for record in found["many"]] == [one.id for one in runs[:0:-1]]
    whole = history.runs("many", 1)[0]
    assert found["many"][0] == {
        name: value
        for name, value in whole.items()
        if name not in ("output_tail", "holder", "store", "version")
    }
    assert [record["outcome"] for record in found["other"]] == ["running"]
    assert found["unheard-of"] == []
    assert history.recent([], 1) == {}
