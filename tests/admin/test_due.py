"""When a job is due: what the configuration says, and what runs announce."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cronguard.admin.due import ANNOUNCED, CONFIGURED, Dues
from cronguard.config.options import ConfigError
from cronguard.config.resolve import Settings
from cronguard.core import record as rec

from .seeds import Seeds

NOON = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
HOUR = 3_600_000
DAILY = {"once_ms": None, "cron": "30 2 * * *", "tz": "UTC"}
PERIOD = {"once_ms": 300_000, "cron": None, "tz": None}


def dues(tmp_path: Path, text: str = "") -> Dues:
    """Return what finds when jobs are due, with this configuration and no environment."""
    file = tmp_path / "c.toml"
    file.write_text(text)
    file.chmod(0o600)
    return Dues(Settings({"config": [str(file)]}, {"HOME": str(tmp_path)}))


@pytest.mark.parametrize(
    ("said", "until", "after", "gap"),
    [
        (DAILY, NOON - 9 * HOUR - 1_800_000, NOON + 14 * HOUR + 1_800_000, 24 * HOUR),
        (PERIOD, NOON, NOON + 300_000, 300_000),
        ({**DAILY, "cron": "0 9,11 * * *"}, NOON - HOUR, NOON + 21 * HOUR, 2 * HOUR),
    ],
)
def test_a_job_is_due_when_its_newest_run_announced(
    tmp_path: Path, said: dict[str, object], until: int, after: int, gap: int
) -> None:
    """The last moment up to now, the next one, and the shortest time between two."""
    due = dues(tmp_path).of("j", {"schedule": said})
    assert due is not None
    assert due.source == ANNOUNCED
    assert (due.until(NOON), due.after(NOON), due.shortest_gap(NOON)) == (until, after, gap)


def test_what_the_configuration_says_counts_more(tmp_path: Path) -> None:
    """A schedule, or a period of its own; a bare `once`, or one for all jobs, says nothing."""
    text = (
        "[defaults]\nonce = '2m'\n[jobs.a]\nschedule = '0 * * * *'\ntz = 'UTC'\n"
        "[jobs.b]\nonce = '10m'\n[jobs.c]\nonce = true\n[jobs.d]\n[jobs.e]\nonce = 'x'\n"
    )
    found = dues(tmp_path, text)
    newest: dict[str, object] = {"schedule": PERIOD}
    gaps = {}
    for job in "abcd":
        due = found.of(job, newest)
        assert due is not None
        gaps[job] = due.source, due.shortest_gap(NOON)
    assert gaps == {
        "a": (CONFIGURED, HOUR),
        "b": (CONFIGURED, 600_000),
        "c": (ANNOUNCED, 300_000),
        "d": (ANNOUNCED, 300_000),
    }
    with pytest.raises(ConfigError, match="x"):
        found.of("e", newest)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "*/5 * * * *",
        {},
        {"once_ms": True},
        {"once_ms": -5},
        {"once_ms": 10**30},
        {"cron": "61 * * * *", "tz": "UTC"},
        {"cron": "0 0 30 2 *", "tz": "UTC"},
        {"cron": "* * * * *", "tz": "Mars/Base"},
        {"cron": "* * * * *", "tz": "../../etc/passwd"},
        {"cron": "* * * * *", "tz": None},
        {"cron": ["*"], "tz": "UTC"},
        {"cron": "\0" * 5, "tz": "\0"},
        {"cron": "*," * 10**5 + "* * * * *", "tz": "UTC"},
    ],
)
def test_what_makes_no_sense_is_no_announcement(tmp_path: Path, said: object) -> None:
    """A record may hold what anybody wrote: nothing of it ends a command."""
    found = dues(tmp_path)
    for _ in range(2):
        assert found.of("j", {"schedule": said}) is None
    assert found.of("j", None) is None


def test_status_shows_when_each_job_is_due(seeds: Seeds, tmp_path: Path) -> None:
    """By a section, by an announcement, or not at all; a section that is wrong says nothing."""
    seeds.ended(rec.SUCCEEDED, job="a", schedule=PERIOD)
    seeds.ended(rec.SUCCEEDED, job="b")
    for _ in range(2):
        seeds.ended(rec.SKIPPED, "held", job="b")
    seeds.ended(rec.SUCCEEDED, job="c")
    file = tmp_path / "c.toml"
    file.write_text("[jobs.c]\nschedule = 'never'\n[jobs.b]\nschedule = '0 0 1 1 *'\ntz = 'UTC'\n")
    file.chmod(0o600)
    argv = ("status", "--config", str(file))
    found = {one["job"]: one for one in json.loads(seeds.say(*argv, "--json")[1])}
    assert [found[job]["due_from"] for job in "abc"] == [ANNOUNCED, CONFIGURED, None]
    assert found["b"]["next_due"][4:] == "-01-01T00:00:00.000Z"
    assert [found[job]["skips_since_run"] for job in "abc"] == [0, 2, 0]
    assert all(found[job]["last_success"].endswith("Z") for job in "abc")
    lines = seeds.say(*argv)[1].splitlines()
    assert lines[0].endswith("SKIPS  LAST SUCCESS  NEXT DUE")
    assert " in " in lines[1]
    assert " in " in lines[2]
    assert lines[3].endswith("  -")
