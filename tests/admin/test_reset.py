from __future__ import annotations

import json
import os
import threading

import pytest

from cronguard.core import record as rec
from cronguard.core.events import Granted, Held, Renewed
from cronguard.stores.contract import Renew
from tests.process.lab import until

from .seeds import Seeds, now_ms


def jobs(seeds: Seeds) -> list[str]:
    """Return the names of the jobs that `status` shows."""
    return [one["job"] for one in json.loads(seeds.say("status", "--json")[1])]


def test_a_reset_says_what_is_lost_and_asks(seeds: Seeds, keys: int) -> None:
    """No: 1, and nothing is lost; yes: the job is forgotten, and its tokens rise on."""
    before = seeds.run()
    first = before.acquire()
    assert isinstance(first, Granted)
    before.end(rec.SUCCEEDED)
    seeds.ended(rec.SKIPPED, "held")
    seeds.say("pause", "backup")
    os.write(keys, b"n\n")
    status, out, err = seeds.say("reset", "backup")
    assert (status, out) == (1, "")
    assert "1 job: the records and counters of 2 runs, skips among them; 1 pause." in err
    assert jobs(seeds) == ["backup"]
    os.write(keys, b"y\n")
    status, out, _ = seeds.say("reset", "backup")
    assert (status, "Forgot 1 job" in out) == (0, True)
    assert jobs(seeds) == []
    grant = seeds.run().acquire()
    assert isinstance(grant, Granted)
    assert grant.token > first.token


def test_without_a_terminal_it_needs_force(seeds: Seeds) -> None:
    """Status 2, with what would be lost and what to do."""
    seeds.ended(rec.SUCCEEDED)
    for argv in (["backup"], ["--all"]):
        status, out, err = seeds.say("reset", *argv)
        assert (status, out) == (2, "")
        assert "the records and counters of 1 run" in err
        assert "--force" in err
    assert jobs(seeds) == ["backup"]
    assert seeds.say("reset", "backup", "--force")[0] == 0
    assert jobs(seeds) == []


def test_all_wants_the_namespace_typed_out(seeds: Seeds, keys: int) -> None:
    """Anything else, `y` as well: 1, and nothing is lost."""
    seeds.ended(rec.SUCCEEDED)
    seeds.ended(rec.SUCCEEDED, job="mail")
    for wrong in (b"y\n", b"\n", b"CG\n"):
        os.write(keys, wrong)
        status, _, err = seeds.say("reset", "--all")
        assert (status, "nothing was reset" in err) == (1, True)
    assert jobs(seeds) == ["backup", "mail"]
    os.write(keys, b"cg\n")
    status, out, err = seeds.say("reset", "--all")
    assert (status, "Forgot 2 jobs" in out, "(cg)" in err) == (0, True, True)
    assert jobs(seeds) == []


def test_what_runs_is_not_reset(seeds: Seeds) -> None:
    """1, with who runs and what to do; --force does not change that, and the lock stands."""
    seeds.ended(rec.SUCCEEDED, job="mail")
    run = seeds.live()
    for argv in (["backup", "--force"], ["--all", "--force"]):
        status, out, err = seeds.say("reset", *argv)
        assert (status, out) == (1, "")
        assert "web-3, pid 8121" in err
        assert "--stop" in err
    assert jobs(seeds) == ["backup", "mail"]
    token = json.loads(seeds.say("ps", "--json")[1])[0]["lease"]["token"]
    run.store.send(Renew(token, 0), now_ms())
    assert isinstance(run.store.events(now_ms())[-1], Renewed)


def test_stop_asks_the_run_to_stop_and_waits(seeds: Seeds) -> None:
    """Not in vain for ever: --timeout; and then nothing is lost."""
    seeds.live("mail")
    status, _, err = seeds.say("reset", "mail", "--force", "--stop", "--timeout", "10ms")
    assert (status, "runs on after 10ms" in err) == (1, True)
    assert jobs(seeds) == ["mail"]
    run = seeds.live()
    told: list[int] = []

    def ends() -> None:
        until("the stop", lambda: _is_asked(seeds, run.run_id))
        run.end(rec.STOPPED, "by x")
        told.append(1)

    ender = threading.Thread(target=ends)
    ender.start()
    status, out, err = seeds.say("reset", "backup", "--force", "--stop")
    ender.join()
    assert (status, told, "Forgot 1 job" in out) == (0, [1], True)
    assert f"asked run {run.run_id[:12]}" in err
    assert jobs(seeds) == ["mail"]


def _is_asked(seeds: Seeds, run_id: str) -> bool:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(seeds.url.removeprefix("sqlite://"))) as db:
        return bool(db.execute("SELECT 1 FROM stops WHERE run_id = ?", (run_id,)).fetchone())


def test_reset_answers_in_json(seeds: Seeds) -> None:
    """The schema: each job, and whether it was reset."""
    seeds.ended(rec.SUCCEEDED)
    seeds.ended(rec.SUCCEEDED, job="mail")
    status, out, _ = seeds.say("reset", "--all", "--force", "--json")
    assert status == 0
    assert json.loads(out) == [{"job": "backup", "reset": True}, {"job": "mail", "reset": True}]


def test_the_lock_that_min_hold_keeps_stays(seeds: Seeds) -> None:
    """L12: nobody starts earlier as the job was forgotten."""
    run = seeds.run()
    run.claim.min_hold = 60_000
    assert isinstance(run.acquire(), Granted)
    run.end(rec.SUCCEEDED)
    assert seeds.say("reset", "backup", "--force")[0] == 0
    assert isinstance(seeds.run().acquire(), Held)


@pytest.mark.parametrize("argv", [[], ["backup", "--all"], ["--al"]])
def test_one_job_or_all_must_be_said(seeds: Seeds, argv: list[str]) -> None:
    """Status 2, and nothing is lost."""
    seeds.ended(rec.SUCCEEDED)
    status, out, err = seeds.say("reset", *argv, "--force")
    assert (status, out, "--all" in err) == (2, "", True)
    assert jobs(seeds) == ["backup"]


def test_a_job_that_nobody_knows(seeds: Seeds) -> None:
    """1, with those that are near."""
    seeds.ended(rec.SUCCEEDED)
    status, _, err = seeds.say("reset", "bakcup", "--force")
    assert (status, "did you mean backup?" in err) == (1, True)
