from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core import messages
from cronguard.core.messages import render
from cronguard.core.spec import JobSpec, Owner
from cronguard.core.words import printable, signal_name, span

RUN = "0123456789abcdef" * 2
SPEC = JobSpec(name="backup", command=["x", "canary"], store="redis://:canary@h", timeout=60_000,
               wait=60_000)  # fmt: skip
HOLDER = Owner("b" * 32, host="web-3", pid=8121, command_hash="11111111")
HOSTILE = "\x1b]0;owned\x07\r\nroot: pwned\u202e\x00\u2028\udcff" + "A" * 5_000
PLAUSIBLE: dict[str, dict[str, object]] = {
    "skipped": {"reason": "held", "holder": HOLDER, "left": 20_000},
    "queued": {"holder": HOLDER, "left": 20_000},
    "conflict": {"why": "px=35000 slots=1 here, px=65000 slots=1 there"},
    "denied": {"why": "the password is wrong"},
    "store_unavailable": {"why": "connection refused"},
    "store_local": {"why": "connection refused"},
    "store_unguarded": {"why": "connection refused"},
    "store_flawed": {"why": "localhost:6379 and 127.0.0.1:6379 are one server"},
    "stopped_early": {"reason": "signal", "signum": 15},
    "not_started": {"why": "/opt/x was not found"},
    "stragglers": {"left": 2},
    "stop_asked": {"by": "ann@desk"},
    "timed_out": {"timeout": 60_000},
    "auto_timeout_few": {"successes": 7},
    "auto_timeout_unknown": {"why": "connection refused"},
    "attempt_failed": {"attempt": 1, "status": 3, "pause": 20_000},
    "log_refused": {"why": "permission denied"},
    "log_failed": {"why": "no space left on device", "path": "/var/log/job.log"},
    "oom_killed": {"limit": 64 << 20},
    "limits_refused": {"why": "--nice -5 cannot be had: permission denied.\n  It takes root"},
    "limits_unmet": {"why": "others are in /sys/fs/cgroup as well"},
    "counts_as_failed": {"status": 123, "why": "it wrote to stderr (--fail-on-stderr)"},
    "still_running": {"since": 600_000},
    "attempts_failed": {
        "attempt": 2,
        "status": 137,
        "signum": 9,
        "why": "--timeout leaves no time",
    },
    "not_started_again": {"attempt": 2, "why": "/opt/x was not found"},
    "stopped_resting": {"attempt": 1, "by": "ann@desk"},
    "lost_resting": {"attempt": 1, "why": "timed out after 2s"},
    "guardian_died_resting": {"attempt": 1},
    "suspended": {"left": 20_000},
    "unkillable": {"why": "pid 7 (state D, uid 0)"},
    "guardian_died": {},
    "guardian_died_early": {},
    "lost_unrenewed": {"since": 21_500, "why": "timed out after 2s"},
    "lost_continuing": {"since": 21_500, "why": "timed out after 2s"},
    "taken": {"holder": HOLDER},
    "taken_continuing": {"holder": None},
    "reclaimed": {},
    "renew_failing": {"why": "timed out after 2s", "left": 16_000},
    "recovered": {"since": 4_000},
    "notify_failed": {"why": "connection refused"},
    "redact_failed": {"why": "the pattern '(a+)+$' takes longer than 1000 ms"},
    "clock_stepped": {"by": -3_600_000},
    "not_closed": {"why": "timed out after 2s"},
    "dead_man_refused": {"why": "resource temporarily unavailable"},
    "dead_man_required": {"why": "resource temporarily unavailable"},
    "isolation_refused": {"why": "this user may not write to /sys.\n  Run it as root"},
    "log_stuck": {"why": "permission denied", "path": "/var/log/job.log"},
    "record_kept_nowhere": {"why": "no space left on device"},
    "records_set_aside": {"count": 2, "path": "/x/outbox/a.json.aside"},
    "spill_failed": {"why": "no space left on device"},
    "name_shared": {},
    "odd_rule": {"why": "--once 7m does not divide a day evenly"},
    "report_trouble": {"what": "chat: not told yet: no answer in time"},
    "tls_unverified": {"store": "rediss://10.0.0.5:6379/0"},
}


def told(topic: str, facts: dict[str, object], own_hash: str = "") -> str:
    return render(topic, facts, SPEC, "redis://h:6379/0", RUN, own_hash)


def assert_well_formed(text: str) -> None:
    """Begin with the job, go on in indented lines, end as a sentence; no terminal obeys it."""
    first, *others = text.split("\n")
    assert first.startswith("backup: ")
    assert all(line.startswith("  ") and line.strip() for line in others), text
    assert all(line.isprintable() for line in (first, *others)), text
    assert re.search(r"[.`)]$", text), text
    assert "canary" not in text
    assert "None" not in text


@pytest.mark.parametrize("topic", sorted(messages.TOPICS))
def test_every_topic_reads_well_with_plausible_facts(topic: str) -> None:
    """No guessing: what and why are in it, and it is well formed."""
    assert topic in PLAUSIBLE, "a new topic: give it plausible facts here"
    text = told(topic, PLAUSIBLE[topic])
    assert_well_formed(text)
    why = PLAUSIBLE[topic].get("why")
    assert why is None or str(why) in text


@pytest.mark.parametrize("topic", sorted(messages.TOPICS))
def test_no_topic_lets_a_stranger_speak_to_the_terminal(topic: str) -> None:
    """O4: what comes from elsewhere is made visible, and is cut."""
    holder = Owner("b" * 32, host=HOSTILE, pid=1)
    strings = {key: value for key, value in PLAUSIBLE[topic].items() if isinstance(value, str)}
    hostile = {key: HOSTILE for key in strings if key != "reason"}
    facts = {**PLAUSIBLE[topic], **hostile}
    if "holder" in facts:
        facts["holder"] = holder
    text = told(topic, facts)
    assert_well_formed(text)
    assert len(text) < 2_000


@pytest.mark.parametrize("topic", sorted(set(messages.TOPICS) - {"skipped", "stopped_early"}))
def test_every_topic_can_be_told_without_facts(topic: str) -> None:
    """A message is never the reason why a run fails."""
    assert told(topic, {}).startswith("backup: ")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"reason": "held", "holder": HOLDER}, "web-3, pid 8121, run bbbbbbbbbbbb"),
        ({"reason": "held", "holder": HOLDER}, "--wait 10m"),
        ({"reason": "held", "holder": None}, "(another run)"),
        ({"reason": "held", "holder": Owner("b" * 32)}, "(run bbbbbbbbbbbb)"),
        (
            {"reason": "held", "holder": HOLDER, "over": True, "left": 9_000},
            "8121, run bbbbbbbbbbbb",
        ),
        (
            {"reason": "held", "over": True, "left": 9_000},
            "is over (another run), but the lock is ",
        ),
        ({"reason": "held", "over": True, "left": 9_000}, "kept for 9s more (--min-hold)"),
        ({"reason": "wait_expired", "holder": HOLDER}, "waited 1m00s"),
        ({"reason": "slot_done", "why": ""}, "the one for this slot"),
        ({"reason": "paused", "why": "release 7, by ann"}, "paused (release 7, by ann)"),
        ({"reason": "paused", "why": ""}, "`cronguard resume backup`"),
    ],
)
def test_a_skip_says_what_is_in_the_way_and_what_to_do(facts: dict[str, object], said: str) -> None:
    """L1: who holds the lock, or why else it did not start."""
    text = told("skipped", facts)
    assert_well_formed(text)
    assert said in text


def test_a_lock_that_would_last_too_long_is_called_odd() -> None:
    """L20: after a step back of the store's clock the message says so, and how to get out."""
    usual = told("skipped", {"reason": "held", "holder": HOLDER, "left": 35_000})
    odd = told("skipped", {"reason": "held", "holder": HOLDER, "left": 3_660_993})
    assert "unlock" not in usual
    assert "clock set back" in odd
    assert "`cronguard unlock backup --force`" in odd


@pytest.mark.parametrize(
    ("own", "theirs", "warned"),
    [
        ("11111111", "11111111", False),
        ("22222222", "11111111", True),
        ("", "11111111", False),
        ("22222222", "", False),
    ],
)
def test_a_holder_with_another_command_is_pointed_out(own: str, theirs: str, warned: bool) -> None:
    """C5: two jobs under one name keep each other from running, and the skip says so."""
    holder = Owner("b" * 32, host="web-3", command_hash=theirs)
    for topic, facts in (
        ("skipped", {"reason": "held"}),
        ("skipped", {"reason": "slot_done", "why": "run 7 was the one"}),
        ("queued", {}),
    ):
        text = told(topic, {**facts, "holder": holder}, own)
        assert_well_formed(text)
        assert ("another command" in text) is warned


def test_silence_covers_only_what_needs_nobody() -> None:
    """What --quiet keeps to itself exists, and has nothing of a failure in it."""
    assert set(messages.TOPICS) >= messages.QUIET_TOPICS
    assert not any(word in topic for topic in messages.QUIET_TOPICS for word in ("lost", "store"))


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (4_250, "4.2s"),
        (59_999, "59.9s"),
        (60_000, "1m00s"),
        (250_000, "4m10s"),
        (3_599_999, "59m59s"),
        (3_600_000, "1h00m"),
        (11_100_000, "3h05m"),
        (86_400_000, "1d0h"),
        (187_200_000, "2d4h"),
    ],
)
def test_durations_are_said_as_people_say_them(ms: int, said: str) -> None:
    """Two units at most, and never rounded up."""
    assert span(ms) == said


def test_signals_have_their_names() -> None:
    """A name where there is one, else the number."""
    assert (signal_name(15), signal_name(9), signal_name(64)) == ("TERM", "KILL", "64")


@given(st.text())
def test_printable_is_one_line_that_no_terminal_obeys(text: str) -> None:
    """O4: whatever it is given, and without losing what was printable before."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 400
    assert not text.isprintable() or len(text) > 400 or shown == text
