from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.admin.figures import LADDER, Figures, histogram
from cronguard.admin.stats import bars, lines, row
from cronguard.core import record as rec
from cronguard.core.durations import ENOUGH_RUNS, percentile

from .seeds import Seeds

SPREAD = {"count", "p50_ms", "p95_ms", "p99_ms", "longest_ms"}
FIGURES = {
    *("job", "runs", "succeeded", "success_rate", "outcomes", "skips", "wait", "duration"),
    *("histogram", "longest_gap_ms", "suggested_timeout_ms"),
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
