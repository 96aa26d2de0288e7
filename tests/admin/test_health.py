from __future__ import annotations

import json
from typing import Any

import pytest

from cronguard.core import record as rec

from .seeds import Seeds

HEALTH = {"status", "jobs", "error"}
JOB = {"job", "status", "running", "paused", "reasons"}
REASON = {"check", "level", "text"}


def health(seeds: Seeds, *argv: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and what was told, which has its schema."""
    status, out, err = seeds.say("health", *argv)
    assert err == ""
    found = json.loads(out)
    assert set(found) == HEALTH
    assert all(set(job) == JOB for job in found["jobs"])
    assert all(set(reason) == REASON for job in found["jobs"] for reason in job["reasons"])
    return status, found


def test_health_is_that_of_the_worst_job(seeds: Seeds) -> None:
    """Healthy, warning and critical, for each job and for all; critical alone is status 1."""
    assert health(seeds) == (0, {"status": "healthy", "jobs": [], "error": None})
    seeds.ended(rec.SUCCEEDED)
    seeds.live("mail")
    status, found = health(seeds)
    assert (status, found["status"]) == (0, "healthy")
    assert [(job["job"], job["running"]) for job in found["jobs"]] == [("backup", 0), ("mail", 1)]
    seeds.ended(rec.FAILED, exit_status=3)
    status, found = health(seeds, "--json")
    assert (status, found["status"]) == (0, "warning")
    assert [job["status"] for job in found["jobs"]] == ["warning", "healthy"]
    status, found = health(seeds, "--failures", "1")
    assert (status, found["status"]) == (1, "critical")
    assert health(seeds, "mail", "--failures", "1")[1]["status"] == "healthy"


def test_health_says_what_check_says(seeds: Seeds) -> None:
    """The same verdicts in the same words: there is one place where they are made."""
    seeds.live(since_wall=1)
    seeds.ended(rec.FAILED, job="mail", exit_status=3)
    limits = ("--critical", "1s", "--failures", "9")
    checked = json.loads(seeds.say("check", "--json", *limits)[1])["findings"]
    told = [
        {"job": job["job"], **reason}
        for job in health(seeds, *limits)[1]["jobs"]
        for reason in job["reasons"]
    ]
    assert sorted(told, key=str) == sorted(checked, key=str)
    assert {one["level"] for one in told} == {"critical", "warning"}


def test_a_job_that_is_not_known_and_a_store_that_is_down(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 with what is near; 69, in JSON, and critical."""
    seeds.ended(rec.SUCCEEDED)
    status, out, err = seeds.say("health", "bakcup")
    assert (status, out, "did you mean backup?" in err) == (1, "", True)
    monkeypatch.setenv("CRONGUARD_STORE", "sqlite:///proc/nope/x.db")
    status, found = health(seeds)
    assert (status, found["status"], found["jobs"]) == (69, "critical", [])
    assert "/proc/nope" in found["error"]
