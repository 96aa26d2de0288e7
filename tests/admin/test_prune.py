from __future__ import annotations

import json

import pytest

from cronguard.core import record as rec

from .seeds import Seeds, wall

DAY = 86_400_000


def runs_of(seeds: Seeds, job: str = "backup") -> list[str]:
    """Return the run ids on record, newest first; of skips, too."""
    return [one["run_id"] for one in json.loads(seeds.say("history", job, "--skips", "--json")[1])]


def test_old_records_are_forgotten_and_counters_stay(seeds: Seeds) -> None:
    """What ended longer ago than --keep: runs and skips; what runs stays, however old."""
    old = wall() - 40 * DAY
    for _ in range(3):
        seeds.ended(rec.SUCCEEDED, at=old)
    seeds.ended(rec.SKIPPED, "held", at=old)
    new = seeds.ended(rec.FAILED, exit_status=3)
    live = seeds.live("mail", since_wall=old)
    before = json.loads(seeds.say("status", "backup", "--json")[1])[0]["counters"]
    status, out, _ = seeds.say("prune", "--keep", "30", "--batch", "2")
    assert status == 0
    assert "backup: forgot 4 records of what ended before" in out
    assert "mail" not in out
    assert runs_of(seeds) == [new.run_id]
    assert runs_of(seeds, "mail") == [live.run_id]
    assert json.loads(seeds.say("status", "backup", "--json")[1])[0]["counters"] == before
    status, out, _ = seeds.say("prune", "--keep", "30")
    assert (status, "No record is older" in out) == (0, True)


def test_a_dry_run_counts_and_forgets_nothing(seeds: Seeds) -> None:
    """In words and in JSON; the schema."""
    one = seeds.ended(rec.SUCCEEDED, at=wall() - 40 * DAY)
    status, out, _ = seeds.say("prune", "--keep", "30", "--dry-run")
    assert (status, "backup: would forget 1 record of" in out) == (0, True)
    found = json.loads(seeds.say("prune", "--keep", "30", "--dry-run", "--json")[1])
    assert found == [{"job": "backup", "records": 1, "dry_run": True}]
    assert runs_of(seeds) == [one.run_id]
    found = json.loads(seeds.say("prune", "--keep", "30", "--json")[1])
    assert found == [{"job": "backup", "records": 1, "dry_run": False}]
    assert json.loads(seeds.say("prune", "--keep", "30", "--json")[1]) == []


@pytest.mark.parametrize(
    "argv",
    [[], ["--keep", "0"], ["--keep", "soon"], ["--keep", "-1"], ["--keep", "1", "--batch", "0"]],
)
def test_what_means_nothing_is_refused(seeds: Seeds, argv: list[str]) -> None:
    """Status 2, and nothing is forgotten."""
    seeds.ended(rec.SUCCEEDED, at=wall() - 40 * DAY)
    status, out, err = seeds.say("prune", *argv)
    assert (status, out, "--" in err) == (2, "", True)
    assert len(runs_of(seeds)) == 1
