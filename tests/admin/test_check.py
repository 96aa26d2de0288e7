from __future__ import annotations

import json
from pathlib import Path

import pytest

from cronguard.admin.figures import Spread
from cronguard.admin.verdict import (
    CRITICAL,
    UNKNOWN,
    WARNING,
    Expected,
    Facts,
    Finding,
    Limits,
    judge,
)
from cronguard.core import record as rec
from cronguard.core.durations import ENOUGH_RUNS
from cronguard.core.spec import Owner
from cronguard.stores.contract import Lease, Overview

from .seeds import Seeds, wall

NOW = 1_790_000_000_000
HOUR = 3_600_000
LIMITS = Limits(failures=3, skips=2, grace=300_000, critical=None)
ANSWER = {"status", "exit_status", "findings", "perf"}
Record = dict[str, object]
FINDING = {"job", "level", "check", "text"}


def lease(age: int = 0, quiet: int = 0, px: int = 35_000) -> Lease:
    """Return the lease of a run that began so long ago."""
    owner = Owner("a" * 32, host="web|3", pid=7, since_wall=NOW - age)
    return Lease(job="j", index=0, owner=owner, token=1, px=px, left=px - quiet)


def facts(
    *leases: Lease,
    counters: dict[str, int] | None = None,
    stale: bool = False,
    durations: tuple[int, ...] = (),
    skips: tuple[str, ...] = (),
    paused: bool = False,
    damage: str = "",
    recent: tuple[Record, ...] = (),
) -> Facts:
    """Return what is known of a job; its skips were a minute ago."""
    when = rec.utc(NOW - 60_000)
    return Facts(
        "j",
        Overview(list(leases), [], {"outcome": rec.FAILED}, counters or {}, {}, damage),
        stale=list(leases) if stale else [],
        durations=Spread(durations),
        skips=[{"reason": reason, "queued_at": when} for reason in skips],
        recent=list(recent),
        paused=paused,
    )


def told(found: list[Finding]) -> list[tuple[str, int]]:
    """Return what was found, without the words."""
    return [(one.check, one.level) for one in found]


def verdict(known: Facts, expected: Expected | None = None) -> list[tuple[str, int]]:
    """Return what is wrong with a job."""
    return told(judge(known, LIMITS, expected or Expected(), NOW))


def test_failures_in_a_row_are_a_warning_and_then_critical() -> None:
    """From one on, and from --failures on."""
    rows = [verdict(facts(counters={"failures_in_a_row": row})) for row in range(4)]
    assert rows == [[], [("failing", WARNING)], [("failing", WARNING)], [("failing", CRITICAL)]]


def test_a_run_takes_too_long_by_its_kind_by_its_timeout_or_by_the_flag() -> None:
    """Beyond p95 of enough runs: a warning; beyond the timeout or --critical: critical."""
    usual = (HOUR,) * ENOUGH_RUNS
    assert verdict(facts(lease(HOUR), durations=usual)) == []
    assert verdict(facts(lease(HOUR + 1), durations=usual)) == [("running", WARNING)]
    assert verdict(facts(lease(HOUR + 1), durations=usual[1:])) == []
    timeout = Expected(timeout=2 * HOUR)
    assert verdict(facts(lease(2 * HOUR)), timeout) == []
    assert verdict(facts(lease(2 * HOUR + 1)), timeout) == [("running", CRITICAL)]
    strict = Limits(failures=3, skips=2, grace=0, critical=60_000)
    assert told(judge(facts(lease(HOUR)), strict, timeout, NOW)) == [("running", CRITICAL)]


def test_skips_count_since_the_last_start_where_runs_are_in_the_way() -> None:
    """A slot that another host ran is none, and a paused job is meant to be skipped."""
    assert verdict(facts(skips=("held",))) == []
    assert verdict(facts(skips=("held", "wait_expired"))) == [("skipped", WARNING)]
    assert verdict(facts(skips=("slot_done", "paused", "held"))) == []
    assert verdict(facts(skips=("held",) * 2, counters={"last_start": NOW - 1})) == []
    assert verdict(facts(skips=("held", "held"), paused=True)) == []


def test_a_job_is_overdue_when_nothing_began_since_it_was_due() -> None:
    """A little early counts; a run under way and a pause excuse; what never began is a warning."""
    hourly = Expected(due=NOW - HOUR, gap=HOUR)

    def started(at: int, *, paused: bool = False) -> list[tuple[str, int]]:
        return verdict(facts(counters={"last_start": at}, paused=paused), hourly)

    assert started(NOW - HOUR - 59_000) == []
    assert started(NOW - HOUR - 61_000) == [("overdue", CRITICAL)]
    assert started(NOW - 5 * HOUR, paused=True) == []
    assert verdict(facts(lease(5 * HOUR), counters={"last_start": 1}), hourly) == []
    assert verdict(facts(), hourly) == [("overdue", WARNING)]
    assert verdict(facts()) == []


@pytest.mark.parametrize(
    ("ttl", "near"), [(10_000, 4_873), (30_000, 16_123), (120_000, 76_873)], ids=str
)
def test_a_heartbeat_that_nearly_came_too_late_is_told(ttl: int, near: int) -> None:
    """From three quarters of the time on after which the run is stopped, on record or under way."""

    def heard(gap: object, outcome: str = rec.SUCCEEDED, ago: int = 60_000) -> Record:
        when = rec.utc(NOW - ago)
        return {"run_id": "b" * 32, "longest_gap_ms": gap, "outcome": outcome, "ended_at": when}

    def seen(*recent: Record) -> list[tuple[str, int]]:
        return verdict(facts(recent=recent), Expected(ttl=ttl))

    assert seen(heard(near - 1), heard(None), heard("x")) == []
    assert seen(heard(0), heard(near + 1)) == [("heartbeat", WARNING)]
    assert seen(heard(near + 1, rec.LEASE_LOST)) == [], "that is a failure of its own"
    assert seen(heard(near + 1, ago=25 * HOUR)) == []
    px = ttl + 5_000
    quiet = [lease(quiet=q, px=px) for q in (near - 1, near + 1)]
    assert verdict(facts(quiet[0])) == []
    assert verdict(facts(quiet[1])) == [("heartbeat", WARNING)]
    assert verdict(facts(quiet[1], stale=True)) == [("stale", WARNING)]


def test_a_silent_holder_and_damage_are_told_and_the_worst_comes_first() -> None:
    """What cannot be read is not known, whatever else."""
    silent = facts(lease(quiet=30_000), stale=True, counters={"failures_in_a_row": 9})
    assert verdict(silent) == [("failing", CRITICAL), ("stale", WARNING)]
    assert verdict(facts(damage="x is not a hash")) == [("damaged", UNKNOWN)]


def test_the_answer_is_one_line_with_figures_and_the_status(seeds: Seeds) -> None:
    """0 OK, 1 WARNING, 2 CRITICAL; one `|`, whatever hosts are called."""
    seeds.ended(rec.SUCCEEDED)
    status, out, err = seeds.say("check", "backup")
    assert (status, out.count("\n"), err) == (0, 1, "")
    assert out == (
        "CRONGUARD OK - backup: well | running=0 age=0s failures=0;1;3 skips=0;3 jobs=1 bad=0\n"
    )
    seeds.ended(rec.FAILED, exit_status=3)
    status, out, _ = seeds.say("check", "backup")
    assert status == 1
    assert out.startswith("CRONGUARD WARNING - backup: the last run failed (failed 3) | running=0 ")
    assert seeds.say("check", "--failures", "1")[0] == 2
    seeds.live("mail", host="a|b\x1b")
    status, out, _ = seeds.say("check", "--critical", "1s", "--skips", "1")
    assert status == 2
    assert "mail: run" in out.partition(";")[0], "the worst is told first"
    assert (out.count("|"), out[:-1].isprintable()) == (1, True)
    assert out.endswith(" | jobs=2 bad=2\n")


def test_skips_are_counted_where_they_happened(seeds: Seeds) -> None:
    """Two runs that found the lock held: the third is not needed with --skips 2."""
    seeds.live(since_wall=wall() - 60_000)
    for _ in range(2):
        seeds.ended(rec.SKIPPED, "held")
    status, out, _ = seeds.say("check", "--skips", "2")
    assert (status, "2 runs in a row were skipped" in out) == (1, True)
    assert seeds.say("check")[0] == 0


def test_check_answers_in_json(seeds: Seeds) -> None:
    """The schema, also of what is not known."""
    seeds.ended(rec.FAILED, exit_status=3)
    for argv, status, word in ((["backup"], 1, "warning"), (["nope"], 3, "unknown")):
        found = json.loads(seeds.say("check", "--json", *argv)[1])
        assert set(found) == ANSWER
        assert (found["exit_status"], found["status"]) == (status, word)
        assert all(set(one) == FINDING for one in found["findings"])
    seeds.say("pause", "backup")
    seeds.ended(rec.SKIPPED, "paused")
    assert json.loads(seeds.say("check", "--json")[1])["perf"] == {"jobs": "1", "bad": "1"}


def test_what_goes_wrong_is_unknown(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """3, in a line on stdout: an empty store, wrong usage, a store that is down."""
    for argv in ([], ["nope"], ["--nope"], ["--grace", "soon"], ["--skips", "0"], ["a", "b"]):
        status, out, err = seeds.say("check", *argv)
        assert (status, out.count("\n"), err) == (3, 1, ""), argv
        assert out.startswith("CRONGUARD UNKNOWN - "), argv
    monkeypatch.setenv("CRONGUARD_STORE", "sqlite:///proc/nope/x.db")
    status, out, err = seeds.say("check")
    assert (status, "/proc/nope" in out, err) == (3, True, "")


@pytest.mark.parametrize("rule", ['schedule = "0 0 * * *"\ntz = "UTC"', 'once = "1h"'])
def test_the_configuration_says_when_a_job_is_due(seeds: Seeds, tmp_path: Path, rule: str) -> None:
    """A section alone is enough: a job that never ran is told as well."""
    file = tmp_path / "c.toml"
    file.write_text(f'[jobs.backup]\ncommand = ["true"]\ntimeout = "1m"\n{rule}\n')
    file.chmod(0o600)
    status, out, _ = seeds.say("check", "--config", str(file))
    assert (status, "backup: it never started" in out) == (1, True)
    run = seeds.live()
    status, out, _ = seeds.say("check", "--config", str(file))
    assert (status, "longer than 1m00s" in out) == (2, True)
    run.end(rec.SUCCEEDED)
    assert seeds.say("check", "--config", str(file))[0] == 0
    file.write_text("[jobs.backup]\nschedule = 'never'\n")
    assert seeds.say("check", "--config", str(file))[0] == 3


def test_what_runs_announced_says_when_a_job_is_due(seeds: Seeds) -> None:
    """On any host, with no configuration: the schedule that its newest run was started with."""
    hourly = {"once_ms": HOUR, "cron": None, "tz": None}
    seeds.ended(rec.SUCCEEDED, schedule=hourly)
    seeds.ended(rec.SUCCEEDED, job="mail")
    assert seeds.say("check")[0] == 0
    for job in ("backup", "mail"):
        seeds.started(job, wall() - 3 * HOUR)
    status, out, _ = seeds.say("check")
    assert (status, "backup: overdue" in out, "mail" in out) == (2, True, False)
    seeds.say("pause", "backup")
    assert seeds.say("check")[0] == 0


def test_a_section_that_is_wrong_hides_no_other_job(seeds: Seeds, tmp_path: Path) -> None:
    """What is expected of that job alone is not known; what is known of it is told."""
    file = tmp_path / "c.toml"
    file.write_text("[jobs.backup]\nschedule = 'never'\n")
    file.chmod(0o600)
    seeds.ended(rec.FAILED, job="mail")
    seeds.ended(rec.FAILED)
    found = json.loads(seeds.say("check", "--json", "--config", str(file))[1])
    told = [(one["job"], one["check"], one["level"]) for one in found["findings"]]
    assert told == [
        ("backup", "failing", "warning"),
        ("mail", "failing", "warning"),
        ("backup", "configuration", "unknown"),
    ]
    assert found["exit_status"] == 1


def test_the_timeout_that_a_run_was_started_with_counts(seeds: Seeds) -> None:
    """It stands in its record: no configuration is needed, and --critical is stronger."""
    run = seeds.run(since_wall=wall() - 2 * HOUR)
    run.facts["timeout_ms"] = HOUR
    run.acquire()
    status, out, _ = seeds.say("check")
    assert (status, "longer than 1h00m" in out) == (2, True)
    assert seeds.say("check", "--critical", "3h")[0] == 0
