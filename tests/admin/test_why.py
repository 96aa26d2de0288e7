from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cronguard.admin.why import EXPLAINED, explain
from cronguard.core import record as rec
from tests.shape import source

from .seeds import Seeds

HOLDER = {"host": "web-9", "pid": 7, "run_id": "f" * 32, "since": "2026-01-31T23:59:59.123Z"}
CASES = [
    (
        rec.SKIPPED,
        "held",
        {"holder": HOLDER},
        r"another run held the lock \(web-9, pid 7, run f{12}",
    ),
    (rec.SKIPPED, "wait_expired", {"wait_ms": 60_000}, "waited 1m00s"),
    (rec.SKIPPED, "slot_done", {}, "slot of the schedule"),
    (rec.SKIPPED, "paused", {}, "cronguard resume backup"),
    (rec.SKIPPED, "replaced", {}, "newer run"),
    (rec.FAILED, "", {"exit_status": 3}, "exited with status 3"),
    (rec.FAILED, "", {"exit_status": 139, "signal": 11}, "ended by signal 11"),
    (rec.FAILED, "", {"exit_status": 137, "signal": 9}, "memory runs out"),
    (rec.FAILED, "", {"exit_status": 3, "attempt": 4}, "status 3 in the last of 4 attempts"),
    (rec.FAILED, "guardian_killed", {"exit_status": 125}, "guardian"),
    (rec.TIMED_OUT, "", {"duration_ms": 240_000}, "ran for 4m00s"),
    (rec.STOPPED, "signal", {"signal": 15}, "signal TERM"),
    (rec.STOPPED, "by ann@desk", {}, "was stopped by ann@desk"),
    (rec.LEASE_LOST, "not_renewed", {}, "did not answer its heartbeats"),
    (rec.LEASE_LOST, "taken", {"holder": HOLDER}, "web-9"),
    (rec.NOT_STARTED, "conflict", {}, "another --slots or --ttl"),
    (rec.NOT_STARTED, "dead_man_required", {}, "ulimit -i"),
    (rec.NOT_STARTED, "log_refused", {}, "may write to it"),
    (rec.NOT_STARTED, "limits_refused", {}, "ask for less"),
    (rec.FAILED, "oom_killed", {"exit_status": 137}, "--memory-max"),
    (rec.NOT_STARTED, "no such file: /opt/x", {"exit_status": 127}, r"no such file.*status 127"),
    (rec.STORE_UNAVAILABLE, "connection refused", {}, "connection refused"),
]


@pytest.mark.parametrize(("outcome", "reason", "facts", "said"), CASES)
def test_every_end_is_explained_with_what_to_do(
    seeds: Seeds, outcome: str, reason: str, facts: dict[str, Any], said: str
) -> None:
    """A sentence of what happened and why, and one of what to do."""
    run = seeds.ended(outcome, reason, **facts)
    status, out, _ = seeds.say("why", "backup")
    assert status == 0
    assert re.search(said, out), out
    assert run.run_id[:12] in out
    assert "{" not in out
    found = json.loads(seeds.say("why", "backup", "--json")[1])
    assert found["record"]["run_id"] == run.run_id
    assert found["do"]


def test_every_outcome_of_a_record_has_an_explanation() -> None:
    """No outcome but success and running is left unexplained, whatever its reason."""
    for outcome in set(rec.OUTCOMES) - {rec.SUCCEEDED, rec.RUNNING}:
        assert (outcome, "*") in EXPLAINED, outcome
        what, todo = explain({"outcome": outcome, "reason": "{x} %s", "job": "j"}, 0)
        assert what.startswith("j: run")
        assert todo


def test_why_says_when_all_is_well_again(seeds: Seeds) -> None:
    """The last trouble, and that a later run succeeded; nothing at all where there was none."""
    seeds.ended(rec.SUCCEEDED, exit_status=0)
    assert "no skip or failure is kept" in seeds.say("why", "backup")[1]
    seeds.ended(rec.FAILED, exit_status=1)
    seeds.ended(rec.SUCCEEDED, exit_status=0)
    out = seeds.say("why", "backup")[1]
    assert "exited with status 1" in out
    assert "last run succeeded" in out


def test_why_names_the_run_that_is_in_the_way_now(seeds: Seeds) -> None:
    """A skip while the holder still runs says who that is."""
    seeds.live()
    seeds.ended(rec.SKIPPED, "held", holder=HOLDER)
    assert (
        "It runs now: web-3, pid 8121, for 4m10s. It was skipped once"
        in seeds.say("why", "backup")[1]
    )


def reasons() -> Iterator[tuple[str, str]]:
    """Yield each (outcome, reason) that the machine, or a refusal, gives a run in the code."""
    for _, tree in source.modules():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            words = [one.value for one in call.args if isinstance(one, ast.Constant)]
            texts = [word for word in words if isinstance(word, str) and word]
            match call.func:
                case ast.Attribute(attr="_skip") if texts:
                    yield rec.SKIPPED, texts[0]
                case ast.Attribute(attr="Refused") | ast.Name(id="Refused") if texts:
                    was_run = texts[0] in ("slot_done", "paused")
                    yield rec.SKIPPED if was_run else rec.NOT_STARTED, texts[0]
                case ast.Attribute(attr="_end") if texts and isinstance(
                    call.args[0], ast.Attribute
                ):
                    yield str(getattr(rec, call.args[0].attr)), texts[0]


def test_every_reason_has_a_sentence_of_its_own() -> None:
    """What the code gives as a reason is a word of ours: a person is told what it means."""
    found = set(reasons())
    assert {
        (rec.SKIPPED, "held"),
        (rec.LEASE_LOST, "taken"),
        (rec.NOT_STARTED, "conflict"),
    } <= found
    assert len(found) >= 13
    assert found <= set(EXPLAINED)


def test_why_tells_of_commands_that_share_the_name(seeds: Seeds) -> None:
    """C5: in turns, runs and skips alike; a command that changed once is a new version."""
    for word in ("one", "two"):
        seeds.ended(rec.SUCCEEDED, command=["echo", word])
    assert json.loads(seeds.say("why", "backup", "--json")[1])["commands"] == []
    seeds.ended(rec.SKIPPED, "held", command=["echo", "one"])
    status, out, _ = seeds.say("why", "backup")
    assert status == 0
    assert "take turns under this name: `echo one` (on web-3) and `echo two` (on web-3)." in out
    assert "its own --name" in out
    assert len(json.loads(seeds.say("why", "backup", "--json")[1])["commands"]) == 2
