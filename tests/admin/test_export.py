from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from cronguard.admin.filters import Filter, moment
from cronguard.core import record as rec

from .seeds import Seeds, wall

NOW = 1_790_000_000_000


def ids(seeds: Seeds, *argv: str) -> list[str]:
    """Return the run ids of an answer in JSON."""
    status, out, err = seeds.say(*argv, "--json")
    assert (status, err) == (0, "")
    return [one["run_id"] for one in json.loads(out)]


def test_history_is_narrowed_by_host_time_and_jobs(seeds: Seeds) -> None:
    """Each filter alone, and all of them together."""
    old = seeds.live(since_wall=wall() - 7_200_000, host="web-1")
    old.end(rec.FAILED, exit_status=1)
    new = seeds.ended(rec.SUCCEEDED, job="mail")
    other = seeds.ended(rec.FAILED, job="rates", exit_status=2)
    assert ids(seeds, "history", "--host", "web-1") == [old.run_id]
    assert set(ids(seeds, "history", "--host", "web-1", "--host", "web-3")) == {
        one.run_id for one in (old, new, other)
    }
    assert set(ids(seeds, "history", "--since", "1h")) == {new.run_id, other.run_id}
    assert ids(seeds, "history", "--until", "1h") == [old.run_id]
    assert ids(seeds, "history", "--since", "3h", "--until", "1h") == [old.run_id]
    assert set(ids(seeds, "history", "mail", "backup", "mail")) == {new.run_id, old.run_id}
    narrow = ("--host", "web-3", "--since", "2000-01-31", "--outcome", "failed")
    assert ids(seeds, "history", *narrow) == [other.run_id]
    status, _, err = seeds.say("history", "mail", "bakcup")
    assert (status, "did you mean backup?" in err) == (1, True)


def test_a_moment_is_a_duration_back_or_an_iso_time() -> None:
    """With its zone, or local; a bare number may mean many things."""
    assert moment("1h30m", NOW) == NOW - 5_400_000
    assert moment("2026-01-31T23:59:00Z", NOW) == 1_769_903_940_000
    assert moment("2026-02-01T00:59:00+01:00", NOW) == 1_769_903_940_000
    local = datetime.fromtimestamp(moment("2026-01-31", NOW) / 1000, UTC).astimezone()
    assert (local.day, local.hour, local.minute) == (31, 0, 0)
    for wrong in ("2026", "20260131", "yesterday", "", "0001-01-01T00:00+14:00x", "-1h"):
        with pytest.raises(ValueError, match="write a duration"):
            moment(wrong, NOW)


@pytest.mark.parametrize(
    "more", [["--since", "soon"], ["--until", "7"], ["--since", "1h", "--until", "2h"]]
)
def test_a_time_that_means_nothing_is_refused(seeds: Seeds, more: list[str]) -> None:
    """Status 2 on one line, for both commands."""
    for words in (["history"], ["export", "history"]):
        status, out, err = seeds.say(*words, *more)
        assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_record_without_a_time_is_in_no_time() -> None:
    """What is not known is not since; without filters everything is wanted."""
    assert Filter().wants({})
    assert not Filter(since=1).wants({"started_at": "nonsense"})


def test_export_writes_all_records_as_they_are(seeds: Seeds) -> None:
    """The schema of the record: runs and skips of all jobs; an empty store is an empty list."""
    assert seeds.say("export", "history") == (0, "[]\n", "")
    assert seeds.say("export", "history", "--format", "csv")[1].count("\n") == 1
    runs = [seeds.ended(rec.SUCCEEDED), seeds.ended(rec.SKIPPED, "held")]
    runs.append(seeds.ended(rec.FAILED, job="mail", exit_status=1))
    status, out, _ = seeds.say("export", "history")
    found = json.loads(out)
    assert status == 0
    assert {one["run_id"] for one in found} == {run.run_id for run in runs}
    assert [one["job"] for one in found] == ["backup", "backup", "mail"]
    assert all(set(one) == set(rec.FIELDS) for one in found)
    assert ids(seeds, "export", "history", "mail") == [runs[2].run_id]
    assert ids(seeds, "export", "history", "--outcome", "skipped") == [runs[1].run_id]
    assert out.isascii()


def test_csv_has_the_fields_of_the_record_and_no_formula(seeds: Seeds) -> None:
    """O4: what a spreadsheet would compute, or a terminal obey, is text in it."""
    run = seeds.live(host="=HYPERLINK(1)")
    run.end(rec.FAILED, exit_status=3, output_tail='a,"b"\r\nc\x1b[31m', output_bytes=9)
    status, out, _ = seeds.say("export", "history", "--format", "csv")
    header, row = csv.reader(io.StringIO(out))
    found = dict(zip(header, row, strict=True))
    assert status == 0
    assert tuple(header) == rec.FIELDS
    assert found["host"] == "'=HYPERLINK(1)"
    assert found["exit_status"] == "3"
    assert found["reason"] == ""
    assert json.loads(found["command"]) == ["/opt/job", "--all"]
    assert found["output_tail"] == 'a,"b"\nc\\x1b[31m'
    status, _, err = seeds.say("export", "history", "--format", "csv", "--json")
    assert (status, "contradict" in err) == (2, True)
