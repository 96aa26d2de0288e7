"""When a schedule is due: zones, clocks that change, and what is no schedule."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cronguard.config.schedule import Schedule, name_of, zone_of
from cronguard.core.slot import nearest


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def shown(moments: list[int]) -> list[str]:
    return [f"{datetime.fromtimestamp(at / 1000, UTC):%m-%d %H:%M}" for at in moments]


def test_moments_before_and_after() -> None:
    """In order; a moment that is now has come."""
    schedule = Schedule("*/5 * * * *", "UTC")
    now = ms("2026-03-01T12:05:00+00:00")
    assert shown(schedule.until(now, 2)) == ["03-01 12:00", "03-01 12:05"]
    assert shown(schedule.after(now, 2)) == ["03-01 12:10", "03-01 12:15"]
    assert shown(schedule.until(now - 1, 1)) == ["03-01 12:00"]


def test_a_time_that_is_left_out_comes_right_after() -> None:
    """DST: 02:30 does not exist in Berlin on 2026-03-29; once, as Debian's cron does it."""
    schedule = Schedule("30 2 * * *", "Europe/Berlin")
    now = ms("2026-03-28T12:00:00+00:00")
    assert shown(schedule.after(now, 3)) == ["03-29 01:00", "03-30 00:30", "03-31 00:30"]
    back = schedule.until(ms("2026-03-31T12:00:00+00:00"), 3)
    assert shown(back) == ["03-29 01:00", "03-30 00:30", "03-31 00:30"]


def test_a_time_that_comes_twice_is_one_slot() -> None:
    """DST: 02:30 comes twice in Berlin on 2026-10-25, and the job is due once."""
    schedule = Schedule("30 2 * * *", "Europe/Berlin")
    moments = schedule.after(ms("2026-10-24T12:00:00+00:00"), 2)
    assert shown(moments) == ["10-25 00:30", "10-26 01:30"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "local"])
@pytest.mark.parametrize("expression", ["*/5 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * MON"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04"])
def test_a_host_finds_the_same_slot_from_any_moment(expression: str, zone: str, day: str) -> None:
    """L13, DST: hosts whose clocks differ name one slot, and each slot is of the schedule."""
    schedule = Schedule(expression, zone)
    start = ms(f"{day}T00:00:00+00:00")
    for minute in range(0, 26 * 60, 37):
        clock = start + minute * 60_000
        slots = set()
        for skew in (-45_000, 0, 45_000):
            rule, kept = schedule.around(clock + skew)
            slot = nearest(rule, clock)
            assert slot is not None
            assert kept > 2 * abs(slot - clock)
            slots.add(slot)
        assert len(slots) == 1, (minute, shown(sorted(slots)))


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* * 30 2 *", "0 0 31 4,6 *", "@daily", "x"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """C1: impossible days are refused as well."""
    with pytest.raises(ValueError, match=r"\*/5|no such day"):
        Schedule(text, "UTC")


def test_a_leap_day_is_a_schedule() -> None:
    """Years apart, before and after."""
    rule, _ = Schedule("0 0 29 2 *", "UTC").around(ms("2026-06-01T00:00:00+00:00"))
    assert nearest(rule, ms("2026-06-01T00:00:00+00:00")) == ms("2028-02-29T00:00:00+00:00")


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "/etc/localtime"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    """C1: told with how zones are written."""
    with pytest.raises(ValueError, match="no time zone"):
        Schedule("* * * * *", name)


def test_this_hosts_zone_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host reads the schedule: what is named stays, and `local` gets the name it has."""
    assert name_of("Asia/Tokyo") == "Asia/Tokyo"
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert name_of("local") == "Asia/Tokyo"
    monkeypatch.delenv("TZ")
    zone = zone_of(name_of("local"))
    for month in (1, 7):
        moment = datetime(2026, month, 1, tzinfo=UTC)
        here = moment.astimezone(zone_of("local")).utcoffset()
        assert moment.astimezone(zone).utcoffset() == here
