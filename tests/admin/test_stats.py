from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.admin.due import ANNOUNCED, Due
from cronguard.admin.figures import (
    Figures,
    Period,
    histogram,
    usual,
)
from cronguard.admin.stats import bars, lines, row
from cronguard.core import record as rec
from cronguard.core.durations import ENOUGH_RUNS, percentile
from cronguard.core.metrics import LADDER

from .seeds import Seeds

SPREAD = {"count", "p50_ms", "p95_ms", "p99_ms", "longest_ms"}
FIGURES = {
    *("job", "runs", "succeeded", "success_rate", "outcomes", "skips", "wait", "duration"),
    *("histogram", "longest_gap_ms", "suggested_timeout_ms", "suggested_warn_after_ms"),
    *("lock", "period"),
}
Record = dict[str, object]


def good(duration: int, **facts: object) -> Record:
    """Return the record of a success."""
    return {"outcome": rec.SUCCEEDED, "duration_ms": duration, "wait_ms": 0, **facts}


def test_the_figures_are_those_of_the_newest_runs() -> None:
    """Older failures that are kept beyond them do not count, and neither does what runs."""
    runs: list[Record] = [{"outcome": rec.RUNNING}, *[good(10)] * (rec.KEPT_RUNS - 2)]
    runs += [{"outcome": rec.FAILED, "longest_gap_ms": 7000}] * 50
    found = Figures("j", runs, {})
    assert (found.runs, found.succeeded) == (rec.KEPT_RUNS - 1, rec.KEPT_RUNS - 2)
    assert found.outcomes == {rec.SUCCEEDED: rec.KEPT_RUNS - 2, rec.FAILED: 1}
    assert found.longest_gap == 7000


def test_durations_are_those_of_successes() -> None:
    """A run that failed at once, or was stopped, tells nothing of how long the work takes."""
    runs = [good(n * 1000) for n in range(1, 101)]
    runs += [{"outcome": rec.TIMED_OUT, "duration_ms": 10**9}]
    found = Figures("j", runs, {})
    spread = found.durations
    assert (spread.p50, spread.p95, spread.p99, spread.longest) == (50_000, 95_000, 99_000, 100_000)
    assert found.suggested_timeout == 143_000  # 142.5 s, in whole seconds


def test_nothing_is_suggested_from_too_few_runs() -> None:
    """From ENOUGH_RUNS successes on, and never less than a second."""
    few = Figures("j", [good(1)] * (ENOUGH_RUNS - 1), {})
    assert few.suggested_timeout is None
    assert f"nothing yet: {ENOUGH_RUNS - 1} runs succeeded" in "\n".join(lines(few))
    assert Figures("j", [good(1)] * ENOUGH_RUNS, {}).suggested_timeout == 1000


def test_no_records_and_nonsense_are_no_figures() -> None:
    """Everything can be told of a job that has nothing, or what no run of ours wrote."""
    for runs in ([], [good(-5, wait_ms="x", longest_gap_ms=True)]):
        found = Figures("j", runs, {"skipped:held": 2, "skips_since_run": 9})
        assert set(found.as_json()) == FIGURES
        assert (found.durations.p50, found.longest_gap) == (None, None)
        assert found.skips == {"held": 2}
        assert lines(found)
        assert row(found)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    values: list[int], percent: int
) -> None:
    """And no smaller value is."""
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found is not None
    assert 100 * sum(one <= found for one in ordered) >= percent * len(ordered)
    assert 100 * sum(one < found for one in ordered) < percent * len(ordered)


@given(st.lists(st.integers(0, 10**9)))
def test_the_histogram_has_each_run_once(values: list[int]) -> None:
    """Its first and last bars are not empty, and its lines are short."""
    found = histogram(values)
    assert sum(count for _, count in found) == len(values)
    assert not found or (found[0][1] and found[-1][1])
    assert all(len(line) < 60 for line in bars(values))


@pytest.mark.parametrize("at", range(len(LADDER)))
def test_a_bar_ends_below_its_bound(at: int) -> None:
    """What lasts as long as the bound is in the next bar."""
    assert histogram([LADDER[at] - 1]) == [(LADDER[at], 1)]
    assert histogram([LADDER[at]]) == [(LADDER[at + 1] if at + 1 < len(LADDER) else None, 1)]


def test_stats_tells_of_one_job_and_of_all(seeds: Seeds) -> None:
    """The schema: an object for a job, a list for all."""
    assert seeds.say("stats", "--json")[1] == "[]\n"
    assert "No job ever ran" in seeds.say("stats")[1]
    seeds.ended(rec.SUCCEEDED, duration_ms=60_000, wait_ms=3, longest_gap_ms=5_100)
    seeds.ended(rec.FAILED, exit_status=1)
    seeds.ended(rec.SKIPPED, "held")
    seeds.ended(rec.SUCCEEDED, job="mail")
    found = json.loads(seeds.say("stats", "backup", "--json")[1])
    assert set(found) == FIGURES
    assert (set(found["wait"]), set(found["duration"])) == (SPREAD, SPREAD)
    assert found["histogram"] == [{"below_ms": 120_000, "runs": 1}]
    assert (found["runs"], found["success_rate"], found["skips"]) == (2, 0.5, {"held": 1})
    status, out, _ = seeds.say("stats", "backup")
    assert status == 0
    for part in ("50 % (1 of 2)", "1: held 1", "p95 1m00s", "< 2m  ####", "longest gap 5.1s"):
        assert part in out
    assert [one["job"] for one in json.loads(seeds.say("stats", "--json")[1])] == ["backup", "mail"]
    assert len(seeds.say("stats")[1].splitlines()) == 3
    status, _, err = seeds.say("stats", "bakcup")
    assert (status, "did you mean backup?" in err) == (1, True)


def test_how_asking_for_the_lock_went(seeds: Seeds) -> None:
    """Acquired, found held (and waited for it, or was skipped), and no store to ask."""
    holder: Record = {"run_id": "f" * 32}
    runs: list[Record] = [
        good(1, token=1),
        good(1, token=2, holder=holder),
        good(1, reason="unguarded"),
        {"outcome": rec.STORE_UNAVAILABLE},
        {"outcome": rec.NOT_STARTED, "reason": "store_denied"},
        {"outcome": rec.NOT_STARTED, "reason": "conflict", "holder": holder},
        {"outcome": rec.FAILED, "token": 3},
    ]
    skips = {"held": 4, "wait_expired": 3, "replaced": 1, "paused": 9, "slot_done": 9}
    found = Figures("j", runs, {f"skipped:{reason}": n for reason, n in skips.items()})
    expected = {"acquired": 3, "queued": 1, "contended": 9, "failed": 3}
    assert found.locks.as_json() == expected
    assert "acquired 3, contended 9 (1 got it after waiting), failed 3" in "\n".join(lines(found))
    seeds.ended(rec.SUCCEEDED, token=5)
    seeds.ended(rec.SKIPPED, "held")
    told = json.loads(seeds.say("stats", "backup", "--json")[1])["lock"]
    assert told == {"acquired": 1, "queued": 0, "contended": 1, "failed": 0}


@pytest.mark.parametrize(
    ("runs", "short"), [(ENOUGH_RUNS - 1, None), (ENOUGH_RUNS, True)], ids=["few", "enough"]
)
def test_a_period_is_too_short_when_runs_outlast_it(runs: int, short: bool | None) -> None:
    """By p95, as the suggestions; with too few runs there is no telling."""
    due = Due(ANNOUNCED, period=60_000)
    found = Figures("j", [good(60_001)] * runs, {}, Period(due, 0))
    period = {"period_ms": 60_000, "due_from": "announced", "too_short": short}
    assert found.as_json()["period"] == period
    assert ("too short" in "\n".join(lines(found))) is bool(short)
    assert row(found)[-1] == ("1m, too short" if short else "1m")
    assert found.suggested_warning == (61_000 if short else None)
    fits = Figures("j", [good(60_000)] * runs, {}, Period(due, 0))
    assert fits.period_too_short is (None if short is None else False)


def test_stats_go_by_what_was_said_of_the_period(seeds: Seeds, tmp_path: Path) -> None:
    """The configuration, else what the newest run announced; a wrong section says nothing."""
    seeds.ended(rec.SUCCEEDED, schedule={"once_ms": 300_000, "cron": None, "tz": None})
    seeds.ended(rec.SUCCEEDED, job="mail")
    assert "  period     5m (announced)" in seeds.say("stats", "backup")[1]
    file = tmp_path / "c.toml"
    file.write_text("[jobs.mail]\nschedule = '*/7 * * * *'\ntz = 'UTC'\n[jobs.x]\nonce = 'x'\n")
    file.chmod(0o600)
    found = json.loads(seeds.say("stats", "--config", str(file), "--json")[1])
    assert [one["period"]["period_ms"] for one in found] == [300_000, 240_000], "56 to 00"
    file.write_text("[jobs.mail]\nschedule = 'x'\n")
    found = json.loads(seeds.say("stats", "--config", str(file), "--json")[1])
    assert found[1]["period"] is None


def test_what_is_usual_is_the_median_of_successes() -> None:
    """What failed or still runs tells nothing; neither does what is no number."""
    runs = [good(n) for n in (5, 1, 9)]
    assert usual([*runs, {"outcome": rec.FAILED, "duration_ms": 1}, good(-1), {}]) == 5
    assert usual([{"outcome": rec.RUNNING}]) is None
