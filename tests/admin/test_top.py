from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.admin.ps import COLUMNS, Live, Scene
from cronguard.admin.top import Shot, fitted, frame
from cronguard.admin.usage import Usage
from cronguard.core import record as rec
from cronguard.core.spec import Owner
from cronguard.stores.contract import Lease

from .seeds import Seeds

NOW = 1_790_000_000_000


def run(number: int = 0, cpu_ms: int | None = None, host: str = "web-3") -> Live:
    """Return a run that began 100 s ago, and has used so much of the processor here."""
    owner = Owner(f"{number:032x}", host=host, pid=7, since_wall=NOW - 100_000)
    lease = Lease(job=f"job{number}", index=0, owner=owner, token=1, px=35_000, left=30_000)
    record: dict[str, object] = {"command": ["/opt/job", "--all", "x" * 100]}
    usage = None if cpu_ms is None else Usage(2, cpu_ms, 50_000_000)
    return Live(lease, record, 0, 4_000, usage)


def shot(*runs: Live, before: Shot | None = None, at: int = NOW) -> Shot:
    """Return what was seen of these runs; two wait for a job."""
    return Shot(Scene(list(runs), {"mail": ["a" * 32, "b" * 32]}, []), at, before)


def test_the_processor_time_is_that_since_the_last_look() -> None:
    """At first since the run began; what is not seen from here is not known."""
    first = shot(run(0, 25_000), run(1))
    assert list(first.cpu.values()) == [25, None]
    later = shot(run(0, 26_000), run(1, 0), before=first, at=NOW + 2_000)
    assert list(later.cpu.values()) == [50, 0]


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 40))
def test_no_screen_is_too_small(width: int, height: int, count: int) -> None:
    """Nothing is wider or, from a few lines on, higher than it; the job is always there."""
    seen = shot(*[run(number, 1) for number in range(count)])
    lines = frame(seen, "redis://h:1/0", "cannot reach it", NOW + 5_000, (width, height))
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= max(height, 7)
    if width >= 40 and count and height > 10:
        assert "job0" in lines[4]


def test_a_narrow_terminal_does_without_some_columns() -> None:
    """The command is cut first, then left out; job and age stay to the end."""
    rows = [run(0, 1).row(NOW)]
    wide, cut, small, least = (fitted(COLUMNS, rows, width) for width in (400, 130, 60, 14))
    assert wide[0].split("  ")[-1] == "COMMAND"
    assert (len(cut[1]), "/opt/job" in cut[1], "x" * 100 in cut[1]) == (130, True, False)
    assert "COMMAND" not in small[0]
    assert "HOST" in small[0]
    assert least == ["JOB   AGE", "job0  1m40s"]


def test_more_runs_than_lines_are_counted() -> None:
    """And who waits is below them."""
    lines = frame(shot(*map(run, range(20))), "x", "", NOW, (200, 12))
    assert len(lines) == 12
    assert lines[-2:] == ["and 13 more", "waiting: mail 2"]
    assert lines[0] == "x: 20 running, 2 waiting; q ends this"


def test_the_age_of_what_is_shown_is_told_while_the_store_is_away() -> None:
    """With why, and for nobody's terminal to obey."""
    lines = frame(shot(), "x", "cannot reach it: \x1b[31m", NOW + 12_000, (200, 24))
    assert lines[1] == "12s old: cannot reach it: \\x1b[31m"
    assert "Nothing runs." in lines


def test_top_shows_once_who_waits(seeds: Seeds) -> None:
    """To what is no terminal, and in JSON."""
    assert seeds.say("top") == (0, "Nothing runs.\n", "")
    live = seeds.live()
    seeds.ended(rec.SUCCEEDED, job="over")
    waiter = seeds.run()
    waiter.acquire(queue_for=60_000)
    status, out, _ = seeds.say("top", "--once")
    assert status == 0
    assert out.splitlines()[1].startswith(live.run_id[:12])
    assert out.splitlines()[2] == "waiting: backup 1"
    found = json.loads(seeds.say("top", "--json")[1])
    assert [one["run_id"] for one in found["runs"]] == [live.run_id]
    assert found["waiting"] == [{"job": "backup", "queued": 1, "run_ids": [waiter.run_id]}]


@pytest.mark.parametrize("interval", ["0", "99ms", "soon"])
def test_an_interval_that_makes_no_sense_is_refused(seeds: Seeds, interval: str) -> None:
    """2, with what to write."""
    status, out, err = seeds.say("top", "--interval", interval)
    assert (status, out) == (2, "")
    assert interval in err
