"""The search through the output, without a process; what it is cut into changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronguard.core.patterns import problem
from cronguard.runtime.searching import Searcher

PIECE = 1 << 16


def answer(patterns: str, *chunks: bytes, stream: bytes = b"1") -> str:
    searcher = Searcher(patterns)
    for chunk in chunks:
        searcher.add(stream, chunk)
    return searcher.answer()


@pytest.mark.parametrize(
    ("pattern", "said", "found"),
    [
        ("ERR", b"fine\nan ERROR\nmore\n", "0 an ERROR"),
        ("ERR", b"fine\nan ERROR", "0 an ERROR"),
        ("^b$", b"a\r\nb\r\nc", "0 b"),
        ("^b$", b"ab\nbb\nba\n", "-"),
        (r"\Ab\Z", b"a\nb\nc\n", "0 b"),
        ("a(?!.*fine)", b"a is fine\na\nfine\n", "0 a"),
        (r"a\s+b", b"a\nb\n", "-"),
        (r"a\s++$", b"a \nb\n", "0 a "),
        ("[^x]b", b"a\nb\n", "-"),
        ("caf\u00e9", "ein caf\u00e9\n".encode(), "0 ein caf\u00e9"),
        ("\ufffd", b"\xff\n", "0 \ufffd"),
        ("a.b", b"a\0b\n", "0 a b"),
        ("zzz", b"", "-"),
    ],
)
def test_each_line_is_searched_by_itself(pattern: str, said: bytes, found: str) -> None:
    """Where it begins and ends is what the pattern's marks mean; whole, and byte by byte."""
    assert answer(pattern, said) == found
    assert answer(pattern, *[said[at : at + 1] for at in range(len(said))]) == found


def test_which_pattern_and_which_line_are_told() -> None:
    """The first line that matches any of them, and empty lines between patterns are none."""
    assert answer("never\n\nERR", b"ok\nERR 1\nERR 2\n") == "2 ERR 1"


def test_streams_do_not_mix() -> None:
    """Half a line of one and half of the other are no line."""
    searcher = Searcher("ab")
    searcher.add(b"1", b"a")
    searcher.add(b"2", b"b\n")
    assert searcher.answer() == "-"


def test_an_attempt_is_begun_anew() -> None:
    """What was found, and half a line, are forgotten."""
    searcher = Searcher("ab")
    searcher.add(b"1", b"ab\na")
    assert searcher.answer() == "0 ab"
    searcher.begin()
    searcher.add(b"1", b"b\n")
    assert searcher.answer() == "-"


def test_a_line_without_end_is_searched_in_pieces() -> None:
    """Bounded; what lies where two pieces meet is found, and no piece's begin is a line's."""
    for at in (PIECE - 3, PIECE, 2 * PIECE - 4096 - 3, 3 * PIECE):
        said = b"x" * at + b"ERROR" + b"x" * PIECE
        assert answer("ERROR", said).startswith("0 ")
        assert answer("^x*ERROR", said) == ("-" if at >= PIECE - 4 else answer("^x*ERROR", said))
    assert answer("^y", b"y".rjust(PIECE + 1, b"x") + b"y" * 3 * PIECE) == "-"


PATTERNS = st.sampled_from(
    ["a", "a+b", "^a", "b$", "^$|ab", r"a\b", r"\Ba", "(a|b)c", "[^a]b", r"a\s*b", r"\Aab", "a.c",
     "(?i)AB", "(?<!a)b", "a(?=b)", r"b\Z", "a++b", "(?:ab){2}", r"\s"],
)  # fmt: skip


@settings(deadline=None)
@given(
    pattern=PATTERNS,
    said=st.text("abc \r\n", max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_many_lines_at_once_find_what_each_would(pattern: str, said: str, cuts: list[int]) -> None:
    """The short cut is one: the same as line by line, in whatever chunks it comes."""
    import re

    if problem(pattern):
        return
    data = said.encode()
    at = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[a:b] for a, b in pairwise(at)]
    lines = data.replace(b"\r\n", b"\n").removesuffix(b"\r").decode().split("\n")
    expected = next((line for line in lines if re.search(pattern, line)), None)
    found = answer(pattern, *chunks)
    shown = None if expected is None else "".join(c if c.isprintable() else " " for c in expected)
    assert found == ("-" if shown is None else f"0 {shown}")
