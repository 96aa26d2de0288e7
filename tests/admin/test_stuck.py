from __future__ import annotations

import json
import os

import pytest

from cronguard.core import record as rec

from .seeds import Run, Seeds, wall

FIELDS = {
    "kind",
    "job",
    "run_id",
    "host",
    "pids",
    "since_ms",
    "key",
    "store",
    "why",
    "provably_dead",
    "clean",
}


def stuck(seeds: Seeds, *argv: str, job: str = "backup") -> list[dict[str, object]]:
    """Return what is stuck of a job; other tests' processes are this host's as well."""
    status, out, _ = seeds.say("stuck", "--json", *argv)
    assert status == 0
    found: list[dict[str, object]] = json.loads(out)
    assert all(set(one) == FIELDS for one in found)
    return [one for one in found if one["job"] == job]


def outcome(seeds: Seeds, run: Run) -> object:
    """Return the outcome that is on record; reading closes what was left."""
    return json.loads(seeds.say("show", run.run_id, "--json")[1])["outcome"]


def test_a_lock_of_a_run_that_is_proven_dead(seeds: Seeds) -> None:
    """P17: same host, keeper gone, and its guardian's mark: `clean` would free the lock."""
    run = seeds.dead()
    [found] = stuck(seeds)
    assert (found["kind"], found["run_id"], found["provably_dead"]) == ("lock", run.run_id, True)
    assert found["clean"] == "free the lock"
    out = seeds.say("stuck")[1]
    assert f"backup: run {run.run_id[:12]} on {os.uname().nodename}, pid {os.getpid()}" in out
    assert "`cronguard clean` would free the lock." in out
    assert outcome(seeds, run) == rec.RUNNING, "a report changes nothing"


def test_that_a_keeper_is_gone_proves_nothing(seeds: Seeds) -> None:
    """P14: without its guardian's mark what it started may live; the lock's time decides."""
    seeds.live(**{**seeds.here(), "pid_start": 1})
    [found] = stuck(seeds)
    assert (found["kind"], found["provably_dead"], found["clean"]) == ("lock", False, None)
    assert "frees itself" in str(found["why"])


def test_a_mark_does_not_kill_a_keeper_that_lives(seeds: Seeds) -> None:
    """P13: a run whose process is there is not stuck, whatever lies in the state folder."""
    from cronguard.config.store import folder
    from cronguard.runtime import proof

    run = seeds.live(**seeds.here())
    proof.leave_mark(folder(os.environ), run.run_id)
    assert stuck(seeds) == []


def test_another_hosts_lock_is_not_judged(seeds: Seeds) -> None:
    """Its heartbeat is fresh: nothing is said of it, until it is older than --older-than."""
    run = seeds.live()
    assert stuck(seeds) == []
    [found] = stuck(seeds, "--older-than", "4m")
    assert (found["kind"], found["run_id"], found["host"]) == ("old_run", run.run_id, "web-3")
    assert (found["provably_dead"], found["clean"]) == (False, None)
    assert "`cronguard stop" in seeds.say("stuck", "--older-than", "4m")[1]


def test_a_record_whose_run_is_gone(seeds: Seeds) -> None:
    """P22: it says `running`, and there is no lock of it."""
    run = seeds.live()
    seeds.vanish()
    for _ in range(2):
        [found] = stuck(seeds)
        assert (found["kind"], found["run_id"], found["pids"]) == ("record", run.run_id, [8121])
        assert (found["provably_dead"], found["clean"]) == (True, "close the record")


def test_what_is_well_is_not_stuck(seeds: Seeds) -> None:
    """A run that lives, one that has ended, one that only min_hold keeps, and a skip."""
    seeds.ended(rec.SUCCEEDED)
    seeds.ended(rec.SKIPPED, "held")
    seeds.live(since_wall=wall())
    assert stuck(seeds) == []


def test_a_store_that_is_down_is_status_69(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed to be well."""
    monkeypatch.setenv("CRONGUARD_STORE", "sqlite:///proc/nope/x.db")
    for argv in (["stuck"], ["clean", "--force"], ["prune", "--keep", "1"], ["reset", "--all"]):
        status, out, err = seeds.say(*argv)
        assert (status, out, "/proc/nope" in err) == (69, "", True)


def test_an_age_that_means_nothing_is_refused(seeds: Seeds) -> None:
    """Status 2, and what to write."""
    for argv in (["stuck", "--older-than", "soon"], ["clean", "--older-than", "0", "--force"]):
        status, out, err = seeds.say(*argv)
        assert (status, out, "--older-than" in err) == (2, "", True)


def test_what_is_stuck_is_printable(seeds: Seeds) -> None:
    """O4: no terminal obeys a host's name."""
    seeds.live(host="\x1b]0;owned\x07")
    seeds.vanish()
    told = (
        seeds.say("stuck")[1]
        + seeds.say("clean", "--dry-run")[1]
        + seeds.say("clean", "--force")[1]
    )
    assert "x1b" in told
    assert all(c.isprintable() or c == "\n" for c in told)
