from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.core import record as rec

texts = st.text(st.characters(codec=None))  # lone surrogates as well: undecodable bytes
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
FIRST_MS = -62_135_596_800_000  # 0001-01-01


@given(values)
def test_what_is_encoded_is_what_json_reads(value: Any) -> None:
    """Every value comes back as it was."""
    text = rec.encode(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert text == json.dumps(value, separators=(",", ":"))


def test_tuples_are_arrays_and_what_json_lacks_is_refused() -> None:
    """A float would lose ms, and bytes are no text: better a bug that is seen."""
    assert rec.encode((1, "a")) == '[1,"a"]'
    for value in (1.5, b"x", {1}, object()):
        with pytest.raises(TypeError, match="cannot hold"):
            rec.encode(value)


def test_a_record_has_all_its_fields_in_their_order() -> None:
    """Schema 1; what is not known is null, what is not of the schema is left out."""
    made = rec.complete({"job": "backup", "colour": "red", "schema": 9})
    assert tuple(made) == rec.FIELDS
    assert made["schema"] == rec.SCHEMA
    assert made["job"] == "backup"
    assert made["token"] is None


@given(texts, st.integers(0, 2**53))
def test_the_token_goes_to_its_place_only(text: str, token: int) -> None:
    """Stores put it in without parsing: nothing that a user wrote is mistaken for its place."""
    tricky = text + '"token":null' + text
    facts = {"job": "j", "command": [tricky, '"token":null,'], "reason": tricky, "host": tricky}
    before = rec.encode(rec.complete(facts))
    after = json.loads(rec.with_token(before, token))
    assert after == {**json.loads(before), "token": token}


@given(texts)
def test_a_record_left_behind_is_closed_in_its_place_only(text: str) -> None:
    """P22: abandoned, and nothing else of it changes."""
    tricky = text + '"outcome":"running"' + text
    facts = {"job": "j", "command": [tricky], "host": tricky, "outcome": rec.RUNNING}
    before = rec.encode(rec.complete(facts))
    after = json.loads(rec.as_abandoned(before))
    assert after == {**json.loads(before), "outcome": rec.ABANDONED}


def test_a_record_that_was_closed_is_not_closed_again() -> None:
    """Only `running` becomes `abandoned`; a token that is there stays."""
    closed = rec.encode(rec.complete({"outcome": rec.FAILED, "token": 5}))
    assert rec.as_abandoned(closed) == closed
    assert rec.with_token(closed, 6) == closed


def test_failures_are_what_is_worth_keeping() -> None:
    """Beyond the last runs only failures are kept: not successes, skips, or what still runs."""
    kept = {outcome for outcome in rec.OUTCOMES if rec.is_failure(outcome)}
    assert kept == {
        rec.FAILED,
        rec.TIMED_OUT,
        rec.STOPPED,
        rec.LEASE_LOST,
        rec.NOT_STARTED,
        rec.STORE_UNAVAILABLE,
        rec.ABANDONED,
    }


@given(st.integers(FIRST_MS, LAST_MS))
def test_moments_are_written_as_datetime_writes_them(wall_ms: int) -> None:
    """H13: years of every kind, before and after the epoch, to the ms."""
    expected = EPOCH + timedelta(milliseconds=wall_ms)
    shown = expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert rec.utc(wall_ms) == shown


@pytest.mark.parametrize(
    ("wall_ms", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_the_days_where_calendars_go_wrong(wall_ms: int, shown: str) -> None:
    """Leap days, centuries, the epoch, the last moment of a day."""
    assert rec.utc(wall_ms) == shown
