"""Patterns of the user's own: applied to everything, or what they were for is not kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronguard.config import values
from cronguard.core import patterns
from cronguard.core.redact import MASK
from cronguard.runtime.redaction import NOT_KEPT, Redaction

ENDLESS = "(a+)+$"
VICTIM = "a" * 40 + "!"


def children() -> set[int]:
    """Return the processes that this one has started and not taken leave of."""
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return {int(pid) for pid in text.split()}


def test_what_matches_is_masked_in_each_text() -> None:
    """In order, each by all patterns; the same texts give the same."""
    redaction = Redaction("card-\\d+\n(?i)pin: .\nx|y\n\n")
    texts = ["card-12 and card-3", "PIN: 7 pin: 8", "", "none", "none", "é x\0\n\udcff"]
    assert redaction.applied(texts) == [
        "*** and ***",
        "*** ***",
        "",
        "none",
        "none",
        "é ***\0\n\udcff",
    ]
    assert not redaction.trouble


def test_an_empty_match_is_no_match() -> None:
    """A border of words is not a secret."""
    assert Redaction("\\b|card").applied(["a card"]) == [f"a {MASK}"]


def test_a_pattern_that_looks_for_ever_is_stopped() -> None:
    """What it would have hidden is not kept, and no process is left of it."""
    before, files = children(), os.listdir("/proc/self/fd")
    redaction = Redaction(f"card\n{ENDLESS}\nlast")
    assert redaction.applied(["card", VICTIM]) == [NOT_KEPT, NOT_KEPT]
    assert redaction.trouble == "the pattern (a+)+$ takes longer than 1000 ms"
    assert children() == before
    assert os.listdir("/proc/self/fd") == files


def test_what_comes_again_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what was done nor what could not be: a run asks for its lock many times."""
    redaction = Redaction("card")
    assert redaction.applied(["card 1"], again=True) == ["*** 1"]
    assert redaction.applied(["card 2"]) == ["*** 2"]
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert redaction.applied(["card 1", ""], again=True) == ["*** 1", ""]
    assert not redaction.trouble
    assert redaction.applied(["card 2"]) == [NOT_KEPT]
    assert redaction.trouble.startswith("the process for it cannot be started: ")


@pytest.mark.parametrize("program", ["/bin/true", "/bin/false", "/bin/echo", "/bin/cat"])
def test_a_process_that_does_something_else_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """As when Python is a part of another program."""
    monkeypatch.setattr(sys, "executable", program)
    redaction = Redaction("card")
    assert redaction.applied(["card"]) == [NOT_KEPT]
    assert redaction.trouble == "the process for it has failed"


def test_much_text_goes_both_ways() -> None:
    """More than a pipe holds."""
    text = "card " * 100_000
    assert Redaction("card").applied([text]) == [text.replace("card", MASK)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_texts_come_back_as_they_are(texts: list[str]) -> None:
    """Where nothing matches."""
    assert Redaction("(?!)x").applied(texts) == texts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(", "no regular expression"),
        ("ok\n*", "no regular expression"),
        ("a{99999999999999999999}", "no regular expression"),
        ("x*", "matches where there is nothing"),
        ("ok\n()", "matches where there is nothing"),
    ],
)
def test_a_bad_pattern_is_refused(text: str, said: str) -> None:
    """By name, whichever of them it is."""
    with pytest.raises(ValueError, match=said):
        values.patterns(text)


def test_a_pattern_that_may_mean_something_else_one_day_is_no_trouble() -> None:
    """Python warns of some; that is nothing for a run's stderr."""
    values.patterns("[[a]\n[a&&b]")
    assert patterns.apply("[[a]", "b[a") == "b******"
