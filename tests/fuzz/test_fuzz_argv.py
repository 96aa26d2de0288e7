"""Words on a command line: both parsers take them to mean the same, or both refuse them."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from cronguard.config import values
from cronguard.config.options import OPTIONS
from cronguard.config.parser import parse
from cronguard.core.spec import is_job_name
from tests.config.test_run_parser import by_click
from tests.fuzz.corpus import fuzzed, replayed

_FLAGS = [flag for option in OPTIONS for flag in option.flags]
_BITS = (
    "",
    "=",
    "--",
    "-",
    "x",
    "=x",
    "5m",
    "\udcff",
    "é",
    "\n",
    "\x1b[2J",
    "'",
    '"',
    " ",
    "\t",
    "@f",
)
words = st.one_of(
    st.sampled_from([*_FLAGS, "--", "-h", "--help", "--version"]),
    st.tuples(*[st.sampled_from(part) for part in (_FLAGS, _BITS, _BITS)]).map("".join),
    st.builds(lambda flag, at: flag[:at], st.sampled_from(_FLAGS), st.integers(1, 9)),
    st.text("-=qnxtkswEch ", max_size=6),
    st.binary(max_size=8).map(lambda raw: os.fsdecode(raw.replace(b"\0", b""))),
    st.text(max_size=6),
)  # fmt: skip


def agree(argv: list[str]) -> None:
    """See that both parsers find the same, or both nothing."""
    light, heavy = parse(argv), by_click(argv)
    assert (light is None) == (heavy is None), argv
    if light is not None and heavy is not None:
        assert (light.flags, light.command) == (heavy.flags, heavy.command), argv


@given(st.lists(words, max_size=10))
@fuzzed(250)
def test_no_words_mean_two_things(argv: list[str]) -> None:
    """C4: the light parser finds what click finds, on any bytes."""
    agree(argv)


@replayed("argv")
def test_words_that_once_meant_two_things(kept: bytes) -> None:
    """C4: the corpus of command lines."""
    agree([os.fsdecode(word) for word in kept.removesuffix(b"\n").split(b"\n")])


@given(st.integers(1, values.LONGEST_MS))
@fuzzed(100)
def test_a_duration_written_is_the_duration_read(ms: int) -> None:
    """What `--dry-run` writes, the reader reads back."""
    assert values.duration(values.duration_text(ms)) == ms


@given(st.one_of(st.text(max_size=10), st.text("0123456789.dhmskMG -_²", max_size=10)))
@fuzzed(200)
def test_every_reader_returns_a_value_or_says_why_not(text: str) -> None:
    """Durations, sizes, signals, names: in bounds, or refused in one printable line."""
    readers = [option.read for option in OPTIONS if option.read is not values.plain]
    for read in (*readers, values.size, values.positive):
        try:
            found = read(text)
        except ValueError as error:
            said = str(error)
            assert said.isprintable(), text
            continue
        if isinstance(found, int):
            assert 0 <= found <= max(values.LONGEST_MS, 1 << 90)
        if read in (values.job_name, values.namespace):
            assert is_job_name(text)


@given(st.integers(0, 10**12), st.sampled_from(["", "k", "K", "m", "M", "g", "G"]))
@fuzzed(50)
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    """Powers of 1024, in either case."""
    power = "kmg".find(unit.lower()) + 1 if unit else 0
    assert values.size(f"{number}{unit}") == number * 1024**power
