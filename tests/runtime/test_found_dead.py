"""Which abandoned runs the run after them tells of, and what is said where that cannot be read."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from cronguard.runtime.found_dead import abandoned_before
from cronguard.runtime.handed import take


def runs(*outcomes: str) -> list[dict[str, object]]:
    """Return records, newest first, with their place for an id."""
    return [{"run_id": str(at), "outcome": outcome} for at, outcome in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("succeeded succeeded", []),
        ("succeeded abandoned succeeded", [("1", 0)]),
        ("succeeded abandoned abandoned", [("2", 0), ("1", 1)]),
        ("succeeded abandoned failed failed", [("1", 2)]),
        ("succeeded failed abandoned", []),
        ("running", []),
    ],
)
def test_a_row_of_abandoned_runs_right_before_is_found(
    outcomes: str, expected: list[tuple[str, int]]
) -> None:
    """The oldest first, each with how many failures were before it; another run tells the rest."""
    found = abandoned_before(runs(*outcomes.split()), "0")
    assert [(run["run_id"], streak) for run, streak in found] == expected


def test_a_run_that_is_not_among_them_finds_nothing() -> None:
    """Its record was pushed out, or the store lost it."""
    assert abandoned_before(runs("succeeded", "abandoned"), "other") == []


def test_a_store_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is told all the same."""
    url = "redis://:c4nary-secret@127.0.0.1:1/0"
    asked: dict[str, object] = {
        "store": url,
        "secrets": ["c4nary-secret"],
        "namespace": "cg",
        "job": "job",
    }
    asked |= {"run_id": "0", "to": ["x"], "at": 5, "config": None}
    report = {"at": 5, "run_id": "f00d", "kind": "end", "job": "job"}
    lines = "\n".join([json.dumps({"found_dead": asked}), json.dumps(report), ""])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    handed = take(str(tmp_path))
    said = handed.said
    assert not handed.unkept
    assert "cannot be read" in said[0]
    assert "c4nary" not in said[0]
    assert json.loads(next((tmp_path / "spool" / "job").iterdir()).read_text()) == report
