"""tests/FAULTS.md is true: what it claims to be proven is."""

from __future__ import annotations

from tests.shape import faults

HELP = "run `make faults`, which writes the tests into the table"


def test_every_claim_has_a_test() -> None:
    """A row stands among the proven ones only with tests, and each of them exists and names it."""
    claimed, tests = faults.claimed(faults.TABLE.read_text()), faults.collected()
    assert claimed
    for row, listed in claimed.items():
        assert listed, f"{row} lists no test; {HELP}, or move the row to the end"
        gone = set(listed) - set(tests.get(row, []))
        assert not gone, f"{row} lists tests that do not name it (any more): {gone}; {HELP}"


def test_every_row_that_a_test_names_is_in_the_table() -> None:
    """A test that names a row proves something that the table knows."""
    text = faults.TABLE.read_text()
    known = set(faults.claimed(text))
    for row, tests in faults.collected().items():
        assert row in known, f"{tests[0]} names {row}, which the table does not claim to be proven"


def test_what_is_not_proven_is_admitted_once() -> None:
    """No row stands in both parts, or twice."""
    text = faults.TABLE.read_text()
    open_rows = faults.not_proven(text)
    assert len(open_rows) == len(set(open_rows))
    assert not set(open_rows) & set(faults.claimed(text))


def test_rows_are_read_from_docstrings_and_names() -> None:
    """Both ways to name rows work, together too."""
    assert faults.rows_of("test_l7_and_more", "Nothing here.") == ["L7"]
    assert faults.rows_of("test_x", "L17, P22: both.") == ["L17", "P22"]
    assert faults.rows_of("test_p3_x", "P3 (tini -g): once.") == ["P3"]
    assert faults.rows_of("test_x", "Only L7 in the middle.") == []
