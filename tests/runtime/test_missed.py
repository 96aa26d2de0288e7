"""Which runs are missing before one, of what is on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronguard.config.schedule import Schedule
from cronguard.core.record import utc
from cronguard.runtime.last_slot import LastSlot
from cronguard.runtime.missed import MOST, missing, said

HOUR = 3_600_000
HOURLY: dict[str, object] = {"once_ms": HOUR, "cron": None, "tz": None}
NIGHTLY: dict[str, object] = {"once_ms": None, "cron": "30 2 * * *", "tz": "UTC"}
_ids = iter(range(1_000_000))


def run(
    slot: float | None, begun: float, ended: float | None = None, **more: object
) -> dict[str, object]:
    """Return a record of a run; times in hours, `begun` when it asked for its lock."""
    facts: dict[str, object] = {
        "run_id": str(next(_ids)),
        "schedule": HOURLY,
        "slot": None if slot is None else utc(int(slot * HOUR)),
        "queued_at": utc(int(begun * HOUR)),
        "ended_at": utc(int((begun if ended is None else ended) * HOUR)),
    }
    return facts | more


def following(at: int) -> int:
    return (at // HOUR + 1) * HOUR


def gaps(others: list[dict[str, object]], slot: float = 10) -> list[float]:
    own = run(slot, slot)
    return [at / HOUR for at in missing([own, *others], own, following)]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], []),
        ([run(9, 9)], []),
        ([run(8, 8)], [9]),
        ([run(8, 8), run(7, 7)], [9]),
        ([run(9.0, 8.6)], []),
        ([run(6, 6, 7.5)], [8, 9]),
        ([run(6, 6, 9.2)], []),
        ([run(7, 7), run(None, 8.01), run(None, 8.99)], []),
        ([run(7, 7), run(None, 8.4)], [9]),
        ([run(7, 7), run(None, 8.5)], [8]),
        ([run(7, 7), run(11, 11)], [8, 9]),
        ([run(7, 7, schedule=NIGHTLY)], []),
        ([run(None, 5)], []),
    ],
)
def test_what_neither_ran_nor_was_skipped_nor_fell_into_a_run_is_missing(
    others: list[dict[str, object]], expected: list[float]
) -> None:
    """Between the slot before and its own; a run without a slot stands for the nearest one."""
    assert gaps(others) == expected


def test_many_are_counted_up_to_a_bound() -> None:
    """A host that was off for a year."""
    assert len(gaps([run(1, 1)], slot=5_000)) == MOST


def test_what_is_told_names_the_moments() -> None:
    """In UTC."""
    assert said([HOUR]).endswith("it was due at 1970-01-01T01:00:00.000Z")
    assert said([HOUR, 2 * HOUR]).startswith("2 runs are missing before this one")
    assert said([HOUR] * MOST).startswith("1000 runs or more are missing")


@pytest.mark.parametrize(
    ("announced", "last", "following_one", "later"),
    [
        (HOURLY, 5 * HOUR, 6 * HOUR, 7 * HOUR),
        (NIGHTLY, 2 * HOUR + HOUR // 2, 26 * HOUR + HOUR // 2, 50 * HOUR + HOUR // 2),
    ],
)
def test_after_the_slot_that_is_noted_comes_the_next(
    tmp_path: Path, announced: dict[str, object], last: int, following_one: int, later: int
) -> None:
    """Nothing noted, another schedule, a note that is damaged: all may hide a gap."""
    schedule = Schedule("30 2 * * *", "UTC") if announced is NIGHTLY else None
    note = LastSlot(str(tmp_path), "job", "cg", announced, schedule)
    assert not note.is_next(following_one)
    note.note(last)
    assert note.is_next(last)
    assert note.is_next(following_one)
    assert not note.is_next(later)
    assert not LastSlot(str(tmp_path), "other", "cg", announced, schedule).is_next(following_one)
    other: dict[str, object] = {"once_ms": 2 * HOUR, "cron": None, "tz": None}
    assert not LastSlot(str(tmp_path), "job", "cg", other).is_next(following_one)
    for text in ("", "x", "1", "9" * 9_000, "\xff"):
        (tmp_path / "slots" / "cg@job").write_text(text, "latin-1")
        assert not note.is_next(following_one)
