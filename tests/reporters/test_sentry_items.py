"""Sentry is told of runs as its documentation demands; see relay.py for who takes it there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cronguard.core import record as records
from cronguard.core import telling
from cronguard.reporters.contract import Report
from cronguard.reporters.sentry_items import slug
from tests.reporters.relay import Relay
from tests.reporters.sentry_runs import (
    CRON,
    END,
    FAILED,
    OTHER,
    RUN,
    RUNS,
    START,
    check_in,
    report,
    sentry,
)
from tests.reporters.sentry_runs import relay_without_environment as _relay  # noqa: F401  (a fixture)

# -- check-ins -------------------------------------------------------------------------------------


def test_start_and_end_of_a_run_are_one_check_in(relay: Relay) -> None:
    """With the time that it took, in seconds."""
    one = sentry(relay)
    one.tell(report(telling.START, **RUNS), 5)
    one.tell(report(telling.SUCCESS), 5)
    begun, ended = relay.of_type("check_in")
    assert (begun["status"], ended["status"]) == ("in_progress", "ok")
    assert begun["check_in_id"] == ended["check_in_id"]
    assert "duration" not in begun
    assert ended["duration"] == 72.5
    assert begun["monitor_slug"] == ended["monitor_slug"] == "backup"
    assert ended["environment"] == "production"
    assert len(relay.items) == 2


def test_a_check_in_that_is_sent_again_is_the_same(relay: Relay) -> None:
    """Also by another process: it counts once. Another run, monitor or environment is another."""
    for settings in ({}, {}, {"monitor": "other"}, {"environment": "staging"}):
        sentry(relay, **settings).tell(report(telling.SUCCESS), 5)
    sentry(relay).tell(report(telling.SUCCESS, run_id=OTHER), 5)
    first, again, *others = [one["check_in_id"] for one in relay.of_type("check_in")]
    assert first == again
    assert len({first, *others}) == 4


ENDS = [
    (telling.RECOVERY, {}, "ok"),
    (telling.FAILURE, FAILED, "error"),
    (telling.FAILURE, {"outcome": records.TIMED_OUT}, "error"),
    (telling.FAILURE, {"outcome": records.NOT_STARTED, "duration_ms": None}, "error"),
    (telling.STOP, {"outcome": records.STOPPED, "reason": "signal"}, "error"),
    (telling.STOP, {"outcome": records.STOPPED, "reason": "replaced"}, "ok"),
    (telling.SKIP, {"outcome": records.SKIPPED, "reason": "paused"}, "ok"),
    (telling.SKIP, {"outcome": records.SKIPPED, "reason": "slot_done"}, ""),
    (telling.SKIP, {"outcome": records.SKIPPED, "reason": "replaced"}, ""),
    (telling.SKIP, {"outcome": records.SKIPPED, "reason": "held"}, ""),
    (telling.SKIP, {"outcome": records.SKIPPED, "reason": "something new"}, ""),
    (telling.WARNING, RUNS, ""),
]


@pytest.mark.parametrize(("event", "facts", "status"), ENDS)
def test_every_event_is_the_check_in_that_it_should_be(
    relay: Relay, event: str, facts: dict[str, object], status: str
) -> None:
    """Or none: see the head of sentry_items.py."""
    sentry(relay, errors=False).tell(report(event, **facts), 5)
    assert [one["status"] for one in relay.of_type("check_in")] == [status] * bool(status)


def skip(reason: str = "held", *, age: int = 300_000, late: int = 0, **facts: object) -> Report:
    """Return a skip by a run that has gone on for *age* ms, told *late* ms after it."""
    at = int(time.time() * 1000) - late
    holder = {"run_id": OTHER, "host": "web-4", "since": records.utc(at - age), **facts}
    return report(
        telling.SKIP, at, outcome=records.SKIPPED, reason=reason, holder=holder, timeout_ms=None
    )


@pytest.mark.parametrize("reason", ["held", "wait_expired"])
def test_a_skip_says_that_the_run_in_its_way_goes_on(relay: Relay, reason: str) -> None:
    """With that run's own check-in: the monitor is neither missed nor said to be well."""
    sentry(relay).tell(skip(reason), 5)
    sentry(relay).tell(report(telling.START, **{**RUNS, "run_id": OTHER}), 5)
    beat, start = relay.of_type("check_in")
    assert beat == start
    assert beat["status"] == "in_progress"


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [
        ({}, {"age": 59_000}),  # its own check-in stands for this time, too
        ({}, {"late": 61_000}),  # who knows what it does by now
        ({"max_runtime": "4m"}, {}),  # that it takes too long should be noticed
        ({"heartbeat": False}, {}),
        ({}, {"job": "other", "lock": "db"}),  # another job's run, and this one's is missed
        ({}, {"run_id": None}),
    ],
)
def test_a_skip_says_nothing_where_that_would_be_wrong(
    relay: Relay, settings: dict[str, object], skipped: dict[str, Any]
) -> None:
    """See the head of sentry_items.py for each."""
    sentry(relay, **settings).tell(skip(**skipped), 5)
    assert relay.requests == 0


def test_a_run_of_the_same_job_with_a_further_lock_goes_on_as_well(relay: Relay) -> None:
    """The lock is another's name, the job is ours."""
    sentry(relay).tell(skip(job="backup", lock="db"), 5)
    assert check_in(relay)["status"] == "in_progress"


# -- monitors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "found"),
    [
        ("backup", "backup"),
        ("Backup.db:eu", "backup-db-eu"),
        ("a_b-c", "a_b-c"),
        ("x..y::", "x-y"),
        ("2026", "job-2026"),
        ("n" * 50, "n" * 50),
        ("n" * 128, "n" * 41 + "-" + slug("n" * 128)[-8:]),
        ("---", slug("---")),
    ],
)
def test_a_job_has_the_name_of_a_monitor(job: str, found: str) -> None:
    """Whatever it is called."""
    assert slug(job) == found
    assert 0 < len(found) <= 50
    assert slug(found) == found
    assert not found.isdecimal()


def test_long_names_that_begin_alike_are_monitors_of_their_own() -> None:
    """What is cut off counts."""
    assert slug("n" * 60 + "a") != slug("n" * 60 + "b")


def test_the_monitor_is_made_as_the_run_announces_it(relay: Relay) -> None:
    """Times in whole minutes, rounded up."""
    settings = {
        "monitor": "{job}-{user}",
        "margin": "90s",
        "max_runtime": "1h",
        "failure_issue_threshold": 3,
        "recovery_threshold": 2,
        "owner": "team:ops",
    }
    sentry(relay, **settings).tell(report(telling.START, **RUNS, schedule=CRON), 5)
    assert check_in(relay)["monitor_slug"] == "backup-ops"
    assert check_in(relay)["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "30 2 * * *"},
        "timezone": "Europe/Berlin",
        "checkin_margin": 2,
        "max_runtime": 60,
        "failure_issue_threshold": 3,
        "recovery_threshold": 2,
        "owner": "team:ops",
    }


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        ({"once_ms": 300_000, "cron": None, "tz": None}, ("interval", 5, "minute")),
        ({"once_ms": 7_200_000, "cron": None, "tz": None}, ("interval", 2, "hour")),
        ({"once_ms": 604_800_000, "cron": None, "tz": None}, ("interval", 7, "day")),
        ({"once_ms": 90_000, "cron": None, "tz": None}, None),
        ({"once_ms": None, "cron": "0 2 * * *", "tz": "local"}, None),
        (None, None),
        ("nonsense", None),
        ({"once_ms": "5", "cron": 7}, None),
    ],
)
def test_what_sentry_would_read_otherwise_is_not_said(
    relay: Relay, schedule: object, found: tuple[str, int, str] | None
) -> None:
    """Then the monitor must be there already."""
    sentry(relay).tell(report(telling.START, **RUNS, schedule=schedule), 5)
    said = check_in(relay).get("monitor_config", {"schedule": {}})["schedule"]
    assert (tuple(said[key] for key in ("type", "value", "unit")) if said else None) == found


def test_a_run_may_last_as_long_as_its_timeout_and_a_minute(relay: Relay) -> None:
    """Where nothing else is said; without a timeout it is left to Sentry."""
    one = sentry(relay)
    one.tell(report(telling.START, **RUNS, schedule=CRON, timeout_ms=90_000), 5)
    one.tell(report(telling.START, **RUNS, schedule=CRON), 5)
    first, second = [found["monitor_config"] for found in relay.of_type("check_in")]
    assert first["max_runtime"] == 3
    assert "max_runtime" not in second


# -- events ----------------------------------------------------------------------------------------


def test_a_failure_is_an_event_with_its_output(relay: Relay) -> None:
    """Of this run alone: nothing of the process that tells it, nothing of its host."""
    tags = {"team": "ops", "cmd": "{user} {nothing}"}
    one = sentry(relay, release="shop@2.3", tags=tags, environment="staging")
    one.tell(report(telling.FAILURE, **FAILED, reason="a\nreason"), 5)
    assert [kind for kind, _ in relay.items] == ["check_in", "event", "attachment"]
    (event,) = relay.of_type("event")
    assert event["fingerprint"] == ["cronguard", "backup", "failed"]
    assert event["logentry"] == {"formatted": "backup failed with status 3: a\\nreason"}
    assert event["timestamp"] == records.utc(END)
    assert event["level"] == "error"
    assert (event["server_name"], event["environment"]) == ("web-3", "staging")
    assert event["release"] == relay.of_type("check_in")[0]["release"] == "shop@2.3"
    assert event["tags"] == {
        "job": "backup",
        "namespace": "cg",
        "outcome": "failed",
        "host": "web-3",
        "exit_status": "3",
        "team": "ops",
        "cmd": "ops {nothing}",
    }
    assert event["contexts"]["cronguard"]["command"] == "/opt/backup --all"
    trace = relay.of_type("check_in")[0]["contexts"]["trace"]["trace_id"]
    assert event["contexts"]["trace"]["trace_id"] == trace == RUN
    assert relay.of_type("attachment") == [b"it\nbroke\n"]
    assert relay.envelopes[1].items[1].headers["content_type"] == "text/plain; charset=utf-8"


def test_an_event_that_is_sent_again_is_the_same(relay: Relay) -> None:
    """And a warning of the same run is another, as is a second warning."""
    one = sentry(relay, check_ins=False)
    for _ in range(2):
        one.tell(report(telling.FAILURE, **FAILED), 5)
    for at in (START, END):
        one.tell(report(telling.WARNING, at, "it runs for long", **RUNS), 5)
    first, again, warned, later = relay.of_type("event")
    assert first["event_id"] == again["event_id"]
    assert len({first["event_id"], warned["event_id"], later["event_id"]}) == 3
    assert warned["fingerprint"] == later["fingerprint"] == ["cronguard", "backup", "warning"]
    assert warned["logentry"]["formatted"] == "backup: it runs for long"
    assert warned["level"] == "warning"


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({"outcome": records.FAILED, "signal": 9, "exit_status": 137}, "was killed by signal KILL"),
        ({"outcome": records.TIMED_OUT}, "timed out after 1m12s"),
        ({"outcome": records.LEASE_LOST, "reason": "taken"}, "lost its lock, and was stopped: tak"),
        ({"outcome": records.NOT_STARTED, "reason": "no such file"}, "could not be started: no su"),
        ({"outcome": "new"}, "ended: new"),
    ],
)
def test_a_title_says_what_happened(relay: Relay, facts: dict[str, object], title: str) -> None:
    """In one line."""
    sentry(relay).tell(report(telling.FAILURE, **facts), 5)
    assert relay.of_type("event")[0]["logentry"]["formatted"].startswith(f"backup {title}")


def test_what_nobody_must_act_on_is_no_event(relay: Relay) -> None:
    """Only failures and warnings are."""
    one = sentry(relay, check_ins=False)
    for event in (telling.START, telling.SUCCESS, telling.RECOVERY, telling.STOP, telling.SKIP):
        one.tell(report(event), 5)
    assert relay.requests == 0


def test_a_hostile_or_an_old_record_is_told_as_well(relay: Relay) -> None:
    """Fields may be missing, of another type, endless, or full of what a line may not hold."""
    one = sentry(relay, tags={"x": "{host}"})
    bare = Report(
        telling.FAILURE, {"job": "j", "run_id": "short"}, namespace="n", at=0, failures=None
    )
    one.tell(bare, 5)
    odd: dict[str, object] = {
        "host": "h\n" + "x" * 1000,
        "command": "text",
        "ended_at": "never",
        "duration_ms": -5,
        "exit_status": True,
        "schedule": [],
        "signal": "9",
        "output_tail": "\0\ud800\n" * 9,
        "reason": {"a": 1},
        "holder": [1],
    }
    for event in telling.EVENTS:
        one.tell(report(event, **{**odd, "outcome": records.FAILED}), 5)
    one.tell(report(telling.SKIP, reason="held", holder={"run_id": 5, "since": "1e999"}), 5)
    assert len(relay.of_type("event")) == 4
