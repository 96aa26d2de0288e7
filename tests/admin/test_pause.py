from __future__ import annotations

import json
import os

import pytest

from cronguard.admin.pause import pause_text, standing
from cronguard.core import record as rec
from cronguard.core.events import Granted, Refused
from tests.process.lab import until

from .seeds import Seeds, wall

PAUSE = {"until_ms", "reason", "by"}
BY = f"@{os.uname().nodename}"


def test_a_paused_job_starts_no_run_until_it_is_resumed(seeds: Seeds) -> None:
    """The refusal says by whom and why; after `resume` the next run starts."""
    seeds.ended(rec.SUCCEEDED)
    status, out, _ = seeds.say("pause", "backup", "--reason", "a new disk")
    assert status == 0
    assert "backup: paused until resumed by " in out
    assert f"{BY}: a new disk." in out
    assert "resume backup" in out
    refused = seeds.run().acquire()
    assert isinstance(refused, Refused)
    assert refused.reason == "paused"
    assert "a new disk" in refused.why
    status, out, _ = seeds.say("resume", "backup")
    assert status == 0
    assert "resumed; it was paused until resumed by" in out
    assert isinstance(seeds.run().acquire(), Granted)


def test_pause_and_resume_answer_in_json(seeds: Seeds) -> None:
    """The schema: what stands, what runs on, and what was."""
    run = seeds.live()
    begun = wall()
    status, out, _ = seeds.say("pause", "backup", "--for", "1h", "--json")
    found = json.loads(out)
    assert (status, set(found)) == (0, {"job", "paused", "running"})
    assert set(found["paused"]) == PAUSE
    assert begun + 3_600_000 <= found["paused"]["until_ms"] <= wall() + 3_600_000
    assert found["paused"]["reason"] is None
    assert [one["run_id"] for one in found["running"]] == [run.run_id]
    assert "goes on: web-3, pid 8121" in seeds.say("pause", "backup", "--for", "1h")[1]
    status, out, _ = seeds.say("resume", "backup", "--json")
    found = json.loads(out)
    assert (status, set(found)) == (0, {"job", "resumed", "was"})
    assert (found["resumed"], set(found["was"])) == (True, PAUSE)


def test_status_and_why_tell_of_a_pause(seeds: Seeds) -> None:
    """Until when, by whom and why; beside it what runs or is the matter."""
    seeds.ended(rec.SUCCEEDED)
    seeds.ended(rec.FAILED, exit_status=3, job="mail")
    assert json.loads(seeds.say("status", "backup", "--json")[1])[0]["paused"] is None
    seeds.say("pause", "backup", "--for", "2h", "--reason", "moving")
    seeds.say("pause", "mail")
    seeds.ended(rec.SKIPPED, "paused")
    found = {one["job"]: one for one in json.loads(seeds.say("status", "--json")[1])}
    assert found["backup"]["state"] == "paused"
    assert set(found["backup"]["paused"]) == PAUSE
    assert found["backup"]["paused"]["reason"] == "moving"
    assert found["mail"]["paused"]["until_ms"] is None
    out = seeds.say("status")[1]
    assert "backup: paused until 2" in out
    assert f"{BY}: moving." in out
    assert "mail: paused until resumed" in out
    out = seeds.say("why", "backup")[1]
    assert "was skipped: the job was paused" in out
    assert ": moving." in out
    assert out.count("resume backup") == 1
    out = seeds.say("why", "mail")[1]
    assert "exited with status 3" in out
    assert "It is paused until resumed" in out
    assert "resume mail" in out
    assert set(json.loads(seeds.say("why", "mail", "--json")[1])["paused"]) == PAUSE


def test_a_job_that_runs_on_while_it_is_paused_is_both(seeds: Seeds) -> None:
    """`running` in JSON; people see the two words."""
    seeds.live()
    seeds.say("pause", "backup")
    assert "running, paused" in seeds.say("status")[1]
    assert json.loads(seeds.say("status", "--json")[1])[0]["state"] == "running"


def test_a_pause_whose_time_is_over_is_none() -> None:
    """Until its last moment it stands; without an end it stands for ever."""
    pause: dict[str, object] = {"until": 5_000, "reason": "", "by": ""}
    assert standing(pause, 4_999) is pause
    assert standing(pause, 5_000) is None
    forever: dict[str, object] = {"until": None, "reason": "x", "by": "ann"}
    assert standing(forever, 1 << 50) is forever
    assert standing(None, 0) is None
    assert pause_text(forever, 0) == "paused until resumed by ann: x"


def test_resume_of_what_is_not_paused_is_no(seeds: Seeds) -> None:
    """1, also when the pause has ended by itself, and for a job that nobody knows."""
    seeds.ended(rec.SUCCEEDED)
    status, out, err = seeds.say("resume", "backup")
    assert (status, out, "it was not paused" in err) == (1, "", True)
    seeds.say("pause", "backup", "--for", "1ms")
    until("the pause's end", lambda: not json.loads(seeds.say("status", "--json")[1])[0]["paused"])
    assert seeds.say("resume", "backup")[0] == 1
    for word in ("pause", "resume"):
        status, _, err = seeds.say(word, "bakcup")
        assert (status, "did you mean backup?" in err) == (1, True)


@pytest.mark.parametrize("more", [["--for", "0"], ["--for", "soon"], ["--reason", "x" * 501]])
def test_a_pause_that_means_nothing_is_refused(seeds: Seeds, more: list[str]) -> None:
    """Status 2, and nothing is paused."""
    seeds.ended(rec.SUCCEEDED)
    status, _, err = seeds.say("pause", "backup", *more)
    assert (status, more[0] in err) == (2, True)
    assert seeds.say("resume", "backup")[0] == 1


def test_pausing_with_a_store_that_is_down_is_status_69(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is claimed to be done."""
    monkeypatch.setenv("CRONGUARD_STORE", "sqlite:///proc/nope/x.db")
    for word in ("pause", "resume"):
        status, out, err = seeds.say(word, "backup")
        assert (status, out, "/proc/nope" in err) == (69, "", True)


def test_the_reason_of_a_pause_is_printable(seeds: Seeds) -> None:
    """O4: no terminal obeys what somebody gave as the reason."""
    seeds.ended(rec.SUCCEEDED)
    told = seeds.say("pause", "backup", "--reason", "\x1b]0;owned\x07")[1]
    for argv in (["status"], ["why", "backup"], ["resume", "backup"]):
        told += seeds.say(*argv)[1]
    assert all(c.isprintable() or c == "\n" for c in told)
