"""Finding and clearing what is left over: it never takes anything from a run that lives."""

from __future__ import annotations

from cronguard.core.events import Closed, Granted, Held, Queued, Renewed
from cronguard.core.record import complete, encode, utc
from cronguard.core.spec import LOCK_MARK
from cronguard.stores.contract import Acquire, Close
from tests.contract.conftest import NewRun
from tests.contract.harness import JOB, PX, Harness, Run, Steering, shown, wall_ms

DAY = 86_400_000


def ended(run: Run, at: int, outcome: str = "succeeded", reason: str = "") -> None:
    """End the run as if that had been then."""
    usual = {"job": JOB, "run_id": run.id, "outcome": outcome, "ended_at": utc(at)}
    close = Close(encode(complete(usual)), outcome=outcome, reason=reason, ended_wall=at)
    assert isinstance(run.ask(close), Closed)


def kept(history: Steering) -> set[object]:
    """Return the ids of all runs and skips on record."""
    return {one["run_id"] for one in [*history.runs(JOB, 300), *history.skips(JOB, 300)]}


def test_records_of_vanished_keepers_are_found_and_not_changed(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """P22: looking for them closes none; closing them tells which they were."""
    gone, live = run(), run("other")
    gone.granted()
    live.granted()
    assert history.left_behind([JOB, "other"]) == {JOB: [], "other": []}
    store.vanish(JOB, 0)
    for _ in range(2):
        found = history.left_behind([JOB, "other"])
        assert [(one["run_id"], one["outcome"]) for one in found[JOB]] == [(gone.id, "running")]
        assert found["other"] == []
    assert history.close_left_behind(JOB) == [gone.id]
    assert history.close_left_behind(JOB) == []
    assert history.close_left_behind("other") == []
    assert history.runs(JOB, 1)[0]["outcome"] == "abandoned"
    assert history.runs("other", 1)[0]["outcome"] == "running"
    assert history.counters([JOB])[JOB]["abandoned"] == 1


def test_a_run_that_got_its_lease_back_is_not_closed(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """It was reported, and took its vanished lease again before anybody cleaned."""
    one = run()
    grant = one.granted()
    store.vanish(JOB, 0)
    assert history.left_behind([JOB])[JOB]
    assert isinstance(one.reclaim(grant), Renewed)
    assert history.close_left_behind(JOB) == []
    assert history.runs(JOB, 1)[0]["outcome"] == "running"
    assert isinstance(one.renew(grant), Renewed)


def test_pruning_forgets_what_ended_before_and_nothing_else(run: NewRun, history: Steering) -> None:
    """Runs and skips that ended before; what runs stays, and the counters."""
    now = wall_ms()
    old, new, skip, live = run(), run(), run(), run()
    old.granted()
    ended(old, now - 3 * DAY)
    new.granted()
    ended(new, now)
    ended(skip, now - 3 * DAY, "skipped", "held")
    grant = live.granted()
    before = history.counters([JOB])[JOB]
    assert history.prune(JOB, now - DAY, 100, dry_run=True) == 2
    assert kept(history) == {old.id, new.id, skip.id, live.id}
    assert history.prune(JOB, now - DAY, 100) == 2
    assert kept(history) == {new.id, live.id}
    assert history.prune(JOB, now + DAY, 100) == 1
    assert kept(history) == {live.id}
    assert history.prune(JOB, now + DAY, 100) == 0
    assert history.counters([JOB])[JOB] == before
    assert history.jobs() == [JOB]
    assert isinstance(live.renew(grant), Renewed)
    assert isinstance(live.close(), Closed)


def test_pruning_goes_in_batches(run: NewRun, history: Steering) -> None:
    """No more at a time than was asked for; the oldest first."""
    now, runs = wall_ms(), []
    for count in range(5):
        runs.append(run())
        runs[-1].granted()
        ended(runs[-1], now - DAY + count)
    assert history.prune(JOB, now, 2) == 2
    assert kept(history) == {one.id for one in runs[2:]}
    assert [history.prune(JOB, now, 2) for _ in range(3)] == [2, 1, 0]
    assert history.prune("unknown", now, 2) == 0


def test_pruning_keeps_the_record_that_min_hold_still_needs(run: NewRun, history: Steering) -> None:
    """L12: a lease that is only kept has its run's record."""
    one = run(min_hold=60_000)
    one.granted()
    one.close()
    assert history.prune(JOB, wall_ms() + DAY, 100) == 0
    assert kept(history) == {one.id}


def test_a_reset_forgets_all_but_what_keeps_runs_apart(run: NewRun, history: Steering) -> None:
    """Records, counters and pause go; the token rises on, though the clock be set back."""
    one, skip = run(), run()
    token = one.granted().token
    ended(skip, wall_ms(), "skipped", "held")
    one.close()
    far = run()
    raised = far.ask(Acquire(far.record(), at_least=token + DAY))
    assert isinstance(raised, Granted)
    far.close()
    history.pause(JOB, None, "x", "alice")
    run("other").granted()
    assert history.reset(JOB)
    assert history.jobs() == ["other"]
    assert kept(history) == set()
    assert history.counters([JOB])[JOB] == {}
    assert history.paused(JOB) is None
    assert history.overview([JOB])[JOB].last is None
    assert run().granted().token > raised.token
    assert history.jobs() == [JOB, "other"]
    assert history.reset("unknown")
    assert history.jobs() == [JOB, "other"]


def test_a_job_that_runs_is_not_reset(run: NewRun, history: Steering) -> None:
    """Nothing of it is lost, and its lease stands."""
    one = run()
    grant = one.granted()
    assert not history.reset(JOB)
    assert kept(history) == {one.id}
    assert isinstance(one.renew(grant), Renewed)
    one.close()
    assert history.reset(JOB)


def test_a_reset_leaves_the_lock_that_min_hold_keeps(run: NewRun, history: Steering) -> None:
    """L12: nobody starts earlier for it."""
    one, two = run(min_hold=60_000), run(min_hold=60_000)
    one.granted()
    one.close()
    assert history.reset(JOB)
    held = two.acquire()
    assert isinstance(held, Held), shown(held)


def test_a_reset_leaves_a_slot_used_up(run: NewRun, history: Steering) -> None:
    """L13: the slot's run is forgotten, but not that there was one."""
    rule = {"rule": "*/3600000", "slot_px": 7_200_000}
    one, two = run(**rule), run(**rule)
    one.granted()
    one.close()
    assert history.reset(JOB)
    assert not isinstance(two.acquire(), Granted)


def test_who_waits_through_a_reset_is_granted_in_the_end(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L14: the queue is lost, and a waiter stands in it anew when it asks next."""
    if not store.has_queue:
        return
    holder, waiter = run(), run()
    holder.granted()
    assert isinstance(waiter.acquire(queue_for=60_000), Queued)
    store.vanish(JOB, 0)
    assert history.reset(JOB)
    assert history.waiters(JOB) == []
    assert isinstance(waiter.acquire(queue_for=60_000), Granted)


def test_nothing_of_ours_is_a_stray(run: NewRun, store: Harness, history: Steering) -> None:
    """Whatever cronguard stores is known to be its own, with or without an expiry."""
    one = run(rule="*/3600000", slot_px=7_200_000)
    one.granted()
    if store.has_queue:
        run(rule="*/3600000", slot_px=7_200_000).acquire(queue_for=60_000)
    history.ask_stop(JOB, one.id, "alice")
    history.pause("other", None, "", "")
    history.fence("a {file}", 1)
    run(f"{LOCK_MARK}disk").granted()
    ended(run(), wall_ms(), "skipped", "held")
    assert history.strays() == []
    assert history.strays(f"{store.namespace}:*") == []


def test_a_lease_that_ends_in_time_is_not_bound(run: NewRun, history: Steering) -> None:
    """Nor is one that changed hands."""
    one = run()
    grant = one.granted()
    [lease] = history.leases([JOB])[JOB]
    assert not history.bound(lease)
    one.close()
    assert not history.bound(lease)
    assert run().granted().token > grant.token
    assert not history.bound(lease)


def test_a_lease_that_would_not_end_ends_again(
    run: NewRun, store: Harness, history: Steering
) -> None:
    """L20: of a holder that is gone in its time; one that lives renews it, and loses nothing."""
    one = run()
    grant = one.granted()
    store.overlong(JOB, 0)
    [lease] = history.leases([JOB])[JOB]
    assert lease.left > PX
    assert history.bound(lease)
    assert not history.bound(lease)
    assert 0 < history.leases([JOB])[JOB][0].left <= PX
    assert isinstance(one.renew(grant), Renewed)
    if store.plant("PERSIST", f"{store.namespace}:{{{JOB}}}:l:0"):
        [lease] = history.leases([JOB])[JOB]
        assert lease.left == -1
        assert history.bound(lease)
        assert 0 < history.leases([JOB])[JOB][0].left <= PX


def test_a_long_min_hold_is_not_cut_short(run: NewRun, history: Steering) -> None:
    """L12: it may be longer than a lease."""
    one = run(min_hold=PX * 10)
    one.granted()
    one.close()
    [lease] = history.leases([JOB])[JOB]
    assert lease.left > PX
    assert not history.bound(lease)


def test_keys_of_others_under_our_prefix_are_found(store: Harness, history: Steering) -> None:
    """Of any kind, if they never expire."""
    ns = store.namespace
    if not store.plant("SET", f"{ns}:legacy", "x"):
        return
    store.plant("SET", f"{ns}:soon", "x", "PX", 60_000)
    store.plant("RPUSH", f"{ns}:list", "x")
    store.plant("SET", f"{ns}:{{{JOB}}}:q", "x")
    found = {stray.key for stray in history.strays()}
    assert found == {f"{ns}:legacy", f"{ns}:list", f"{ns}:{{{JOB}}}:q"}
    assert history.uproot(history.strays()) == [], "only what was looked at is removed"


def test_a_foreign_lock_is_removed_only_as_it_was(store: Harness, history: Steering) -> None:
    """Text that never expires; not if it was taken again meanwhile, or got an expiry."""
    ns = store.namespace
    key, other = f"{ns}:laravel-queue-overlap:1", f"{ns}:laravel-queue-overlap:2"
    if not store.plant("SET", key, "owner"):
        return
    store.plant("SET", other, "o" * 1000)
    store.plant("SET", f"{ns}:laravel-queue-overlap:3", "x", "PX", 60_000)
    store.plant("RPUSH", f"{ns}:laravel-queue-overlap:4", "x")
    ticks: list[int] = []
    found = history.strays(f"{ns}:*queue-overlap*", lambda: ticks.append(1))
    assert {stray.key for stray in found} == {key, other}
    assert {stray.size for stray in found} == {5, 1000}
    assert ticks
    store.plant("SET", key, "later")
    store.plant("PEXPIRE", other, 60_000)
    assert history.uproot(found) == []
    store.plant("SET", key, "owner")
    store.plant("PERSIST", other)
    gone = history.uproot(found)
    assert {(stray.store, stray.key) for stray in gone} == {(s.store, s.key) for s in found}
    assert history.uproot(found) == []
    assert history.strays(f"{ns}:*queue-overlap*") == []
