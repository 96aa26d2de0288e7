"""`cronguard report` and `cronguard flush`: what waits, who hears, and does it work?"""

from __future__ import annotations

import json

import pytest

from tests.process.lab import Lab, until
from tests.process.reporting import Diary

RUN = ("run", "--name", "job", "--report", "diary")


def test_flush_tells_what_waits_and_says_what_still_does(local: Lab, diary: Diary) -> None:
    """With a reporter that is still ill it ends with 1, and says why."""
    assert local.call("flush").stdout == b"No report waits on this host.\n"
    diary.is_ill("not-now")
    local.call(*RUN, "--", "false")
    failed = local.call("flush")
    assert failed.returncode == 1
    assert failed.stdout == b"0 told, 2 still wait.\n"
    assert b"diary: not told yet: it is ill" in failed.stderr
    diary.is_ill("not-now", ill=False)
    assert json.loads(local.call("flush", "--json").stdout) == {"told": 2, "waiting": 0, "said": []}
    assert diary.events() == ["start", "failure"]


def test_flush_ends_in_time_with_a_reporter_that_hangs(local: Lab, diary: Diary) -> None:
    """What it has not told stays."""
    diary.is_ill("not-now")
    local.call(*RUN, "--", "false")
    diary.is_ill("not-now", ill=False)
    diary.is_ill("sleeps")
    assert local.call("flush", "--timeout", "200ms").returncode == 1
    assert len(diary.waiting()) == 2


def test_flush_and_a_run_never_tell_the_same_twice(local: Lab, diary: Diary) -> None:
    """Whoever comes second waits for the first, and finds nothing."""
    diary.is_ill("not-now")
    for _ in range(5):
        local.call(*RUN, "--", "false")
    diary.is_ill("not-now", ill=False)
    several = [local.start("flush") for _ in range(4)]
    for process in several:
        process.communicate()
    assert diary.events() == ["start", "failure"] * 5


def test_list_shows_who_hears_of_what(local: Lab, diary: Diary) -> None:
    """And what waits; a section that is wrong is named, and the others are shown."""
    diary.configure(
        '[defaults]\nreport = ["diary"]\n[jobs.one]\nreport = ["diary", "slack"]\n'
        '[reporters.slack]\ntype = "webhook"\non = ["start"]\ncolour = "red"',
        on=["failure", "recovery"],
        after=3,
    )
    local.call(*RUN, "--", "true")
    shown = local.call("report", "list", "--json")
    assert shown.returncode == 1
    first, second = json.loads(shown.stdout)
    assert first | {"waiting": 0} == {
        "name": "diary",
        "type": "diary",
        "told_of": ["recovery", "failure"],
        "after": 3,
        "changes": False,
        "all_jobs": True,
        "jobs": ["one"],
        "waiting": 0,
        "problem": None,
    }
    assert "colour" in second["problem"]
    plain = local.call("report", "list")
    assert b"all that do not say otherwise, one" in plain.stdout
    assert b"colour" in plain.stderr


def test_list_counts_what_waits(local: Lab, diary: Diary) -> None:
    """So does doctor."""
    diary.is_ill("not-now")
    local.call(*RUN, "--", "true")
    (row,) = json.loads(local.call("report", "list", "--json").stdout)
    assert row["waiting"] == 2
    doctor = json.loads(local.call("doctor", "--json").stdout)
    assert "2 reports wait to be told" in [one["text"] for one in doctor["checks"]]


@pytest.mark.parametrize("event", ["start", "success", "recovery", "failure", "stop", "skip"])
def test_a_sample_is_told_whatever_the_rules_say(local: Lab, diary: Diary, event: str) -> None:
    """It has what a report of a run has."""
    diary.configure(on=["warning"])
    told = local.call("report", "test", "diary", "--event", event)
    assert told.returncode == 0, told.stderr
    (entry,) = diary.entries()
    assert (entry["event"], entry["job"]) == (event, "cronguard-test")


def test_a_sample_that_is_not_taken_says_why(local: Lab, diary: Diary) -> None:
    """Without the secrets of the reporter; and nothing is kept for later."""
    diary.is_ill("not-now")
    told = local.call("report", "test", "diary")
    assert (told.returncode, told.stdout) == (1, b"")
    assert told.stderr.endswith(b"cronguard: diary: not told: it is ill.\n")
    assert not local.state.exists() or not diary.waiting()


def test_a_sample_that_is_taken_with_a_remark_is_told(local: Lab, diary: Diary) -> None:
    """The remark stands beside that, here and after a run."""
    diary.is_ill("remarks")
    done = local.call("report", "test", "diary")
    assert (done.returncode, done.stdout[-17:]) == (0, b"the ink is pale.\n")
    ran = local.call("run", "-n", "job", "--report", "diary", "--", "false")
    assert (ran.returncode, b"diary: the ink is pale" in ran.stderr) == (1, True)
    assert not diary.waiting()


def test_a_run_waits_for_a_flush_that_tells_its_job(local: Lab, diary: Diary) -> None:
    """The order is kept, whoever tells."""
    diary.is_ill("not-now")
    local.call(*RUN, "--", "false")
    diary.is_ill("not-now", ill=False)
    diary.is_ill("sleeps")
    flush = local.start("flush", "--timeout", "1m")
    until("it is telling", lambda: len(diary.asked()) > 1)
    ended = local.call(*RUN, "--report-timeout", "300ms", "--", "true")
    assert ended.returncode == 0
    assert b"another process still tells earlier reports" in ended.stderr
    flush.kill()
    flush.wait()
    diary.is_ill("sleeps", ill=False)
    assert local.call("flush").returncode == 0
    assert diary.events() == ["start", "failure", "start", "recovery"]
