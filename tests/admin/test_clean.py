from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from cronguard.admin.clean import clear
from cronguard.admin.stuck import search
from cronguard.config.resolve import place
from cronguard.core import record as rec
from cronguard.core.events import Granted, Held, Renewed
from cronguard.stores.contract import Acquire, History, Renew
from cronguard.stores.open import open_history

from .seeds import Run, Seeds
from .test_stuck import FIELDS, outcome


@pytest.fixture
def history(seeds: Seeds) -> Iterator[History]:
    """Give the history side, as the command opens it."""
    with closing(open_history(seeds.url, "cg")) as opened:
        yield opened


def evicting(run: Run, dead: Run) -> Granted:
    """Have a run take the lock over from one that is dead, as the keeper does."""
    reply = run.ask(Acquire(rec.encode(rec.complete(run.facts)), evict=dead.run_id))
    assert isinstance(reply, Granted)
    return reply


def test_without_a_terminal_and_without_force_it_is_refused(seeds: Seeds) -> None:
    """Status 2, what to do, and nothing is cleared."""
    run = seeds.dead()
    status, out, err = seeds.say("clean")
    assert (status, out) == (2, "")
    assert "--force" in err
    assert "--dry-run" in err
    assert outcome(seeds, run) == rec.RUNNING


def test_it_frees_the_lock_of_the_dead_and_leaves_the_living(seeds: Seeds) -> None:
    """A line for each thing it did; the next run starts at once, and the record is closed."""
    dead, live = seeds.dead(), seeds.live("mail")
    seeds.live("gone")
    seeds.vanish("gone")
    status, out, err = seeds.say("clean", "--force", "--older-than", "1m")
    assert (status, err) == (0, "")
    assert f"backup: run {dead.run_id[:12]}" in out
    assert ": freed the lock, and closed the record as abandoned." in out
    assert "gone: run " in out
    assert ": closed the record as abandoned." in out
    assert outcome(seeds, dead) == rec.ABANDONED
    assert outcome(seeds, live) == rec.RUNNING
    assert isinstance(seeds.run().acquire(), Granted)
    assert isinstance(seeds.run("mail").acquire(), Held)


def test_a_dry_run_says_what_it_would_do(seeds: Seeds) -> None:
    """And does nothing: no lock is freed, no record closed, no lock of its own taken."""
    seeds.dead()
    status, out, _ = seeds.say("clean", "--dry-run")
    assert status == 0
    assert "would free the lock" in out
    assert "Would clear 1 thing." in out
    assert isinstance(seeds.run().acquire(), Held)
    assert "cronguard.clean" not in seeds.say("status")[1]


def test_clean_answers_in_json(seeds: Seeds) -> None:
    """The schema: what is stuck, and whether it was cleared; null where that was not tried."""
    seeds.dead()
    seeds.live("mail")
    status, out, _ = seeds.say("clean", "--dry-run", "--json", "--older-than", "1m")
    found = {one["job"]: one for one in json.loads(out)}
    assert (status, set(found["backup"])) == (0, FIELDS | {"done"})
    assert found["backup"]["done"] is None
    status, out, _ = seeds.say("clean", "--force", "--json", "--older-than", "1m")
    found = {one["job"]: one for one in json.loads(out)}
    assert (status, found["backup"]["done"], found["mail"]["done"]) == (0, True, None)


def test_nothing_to_clean_is_done(seeds: Seeds) -> None:
    """Status 0, and no record of it: a timer that finds nothing leaves no trace."""
    seeds.live()
    status, out, _ = seeds.say("clean", "--force")
    assert (status, "othing to clean." in out) == (0, True)
    assert "cronguard.clean" not in seeds.say("status")[1]


def test_it_asks_at_a_terminal(seeds: Seeds, keys: int) -> None:
    """No: 1, and nothing is cleared; yes: it is."""
    run = seeds.dead()
    os.write(keys, b"n\n")
    status, out, err = seeds.say("clean")
    assert (status, "would free the lock" in out) == (1, True)
    assert "Clear 1 thing of cronguard's own?" in err
    assert outcome(seeds, run) == rec.RUNNING
    os.write(keys, b"y\n")
    status, out, _ = seeds.say("clean")
    assert (status, "freed the lock" in out) == (0, True)
    assert outcome(seeds, run) == rec.ABANDONED


def test_only_one_host_cleans_at_a_time(seeds: Seeds) -> None:
    """The others say so, and that is no failure: 0."""
    run = seeds.dead()
    other = seeds.live("cronguard.clean", host="web-9")
    status, _, err = seeds.say("clean", "--force")
    assert status == 0
    assert "web-9" in err
    assert outcome(seeds, run) == rec.RUNNING
    other.end(rec.SUCCEEDED)
    assert seeds.say("clean", "--force")[0] == 0
    assert outcome(seeds, run) == rec.ABANDONED


def test_a_pause_holds_it_as_any_job(seeds: Seeds) -> None:
    """`cronguard pause cronguard.clean`: said, and not done."""
    seeds.ended(rec.SUCCEEDED, job="cronguard.clean")
    seeds.say("pause", "cronguard.clean", "--reason", "looking at it")
    run = seeds.dead()
    status, _, err = seeds.say("clean", "--force")
    assert (status, "paused" in err, "looking at it" in err) == (0, True, True)
    assert outcome(seeds, run) == rec.RUNNING


def test_it_leaves_a_record_of_what_it_did(seeds: Seeds) -> None:
    """Who cleaned what is in the history, as of any run."""
    run = seeds.dead()
    seeds.say("clean", "--force")
    [record] = json.loads(seeds.say("history", "cronguard.clean", "--json")[1])
    assert set(record) == set(rec.FIELDS)
    assert (record["outcome"], record["host"]) == ("succeeded", os.uname().nodename)
    assert f"run {run.run_id[:12]}" in seeds.say("logs", "cronguard.clean")[1]


# --- between report and clearing


def test_a_lock_that_changed_hands_is_never_freed(seeds: Seeds, history: History) -> None:
    """Another run took it over from the dead one after it was reported: it goes on."""
    dead = seeds.dead()
    found = search(history, 7_200_000).found
    next_one = seeds.run()
    grant = evicting(next_one, dead)
    todo = [one for one in found if one.todo]
    assert [was_done for _, was_done in clear(history, todo)] == [False]
    assert isinstance(next_one.ask(Renew(grant.token, grant.index)), Renewed)
    assert outcome(seeds, next_one) == rec.RUNNING


def test_a_record_that_was_closed_meanwhile_is_left(seeds: Seeds, history: History) -> None:
    """Its run said how it ended after all: that stays."""
    run = seeds.live()
    seeds.vanish()
    found = search(history, 7_200_000).found
    run.end(rec.FAILED, exit_status=3)
    assert [was_done for _, was_done in clear(history, found)] == [False]
    assert outcome(seeds, run) == rec.FAILED


def test_two_cleans_at_once_clear_each_thing_once(seeds: Seeds, history: History) -> None:
    """Both reported the same; what the first did, the second leaves alone."""
    seeds.dead()
    seeds.live("gone")
    seeds.vanish("gone")
    first = [one for one in search(history, 7_200_000).found if one.todo]
    second = [one for one in search(history, 7_200_000).found if one.todo]
    assert [was_done for _, was_done in clear(history, first)] == [True, True]
    assert [was_done for _, was_done in clear(history, second)] == [False, False]
    counters = history.counters(["backup", "gone"])
    assert counters["backup"]["abandoned"] == counters["gone"]["abandoned"] == 1


def test_its_own_lock_is_given_back_when_it_fails(seeds: Seeds) -> None:
    """The next one need not wait for it."""
    from cronguard.admin.own_lease import Busy, OwnLease

    found = place({}, os.environ)
    one, two = OwnLease("x", found, ["x"]), OwnLease("x", found, ["x"])
    one.take()
    assert one.keep()
    with pytest.raises(Busy, match=f"run on {os.uname().nodename}, pid {os.getpid()}"):
        two.take()
    one.end(rec.FAILED, "no\n")
    three = OwnLease("x", found, ["x"])
    three.take()
    three.end(rec.SUCCEEDED, "")
    outcomes = [one["outcome"] for one in json.loads(seeds.say("history", "x", "--json")[1])]
    assert outcomes == ["succeeded", "failed"]
