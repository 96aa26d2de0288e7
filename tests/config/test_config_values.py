from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.config import values
from cronguard.core.words import size_text


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("30", 30_000),
        ("0", 0),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1.5", 1500),
        ("0.5h", 1_800_000),
        ("1m30s250ms", 90_250),
        (" 7s ", 7000),
    ],
)
def test_a_duration_is_exact_milliseconds(text: str, ms: int) -> None:
    """Durations of every unit come out in integer ms."""
    assert values.duration(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "x", "5x", "-5", "5 m", "m", "1m1h", "1s1s", "1..5", ".", ".5", "1e3", "٣s", "³", "inf",
     "nan", "0x10", "5mm", "9999d9999h9", "1_000", "5m\n3", "4000d", "0.0001s", "9" * 400],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    """C1: a bad duration is refused with what to write."""
    with pytest.raises(ValueError, match=r"30s|1ms"):
        values.duration(text)


@given(st.integers(0, values.LONGEST_MS))
def test_a_duration_reads_back_as_it_was_written(ms: int) -> None:
    """What we show can be given back to us."""
    assert values.duration(values.duration_text(ms)) == ms


@pytest.mark.parametrize("text", ["0", "1", "512", "1k", "64k", "10M", "3G", "1025"])
def test_a_size_is_told_as_it_is_written(text: str) -> None:
    """What a dry run shows can be given back to us."""
    assert size_text(values.size(text)) == text


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than its own."""
    said = ""
    try:
        assert 0 <= values.duration(text) <= values.LONGEST_MS
    except ValueError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(("text", "number"), [("512", 512), ("64k", 65_536), ("10M", 10 << 20)])
def test_sizes_count_in_powers_of_1024(text: str, number: int) -> None:
    """`64k` is 65536."""
    assert values.size(text) == number


@pytest.mark.parametrize("text", ["", "k", "-1", "1kk", "1.5k", "10MB", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """C1: a bad size is refused."""
    with pytest.raises(ValueError, match="not a size"):
        values.size(text)


@pytest.mark.parametrize("text", ["0", "", "-1", "1.5", "1000", "two", "٣"])
def test_what_is_no_number_of_runs_is_refused(text: str) -> None:
    """C1: with --slots 0 nothing would ever run."""
    assert values.slots("999") == 999
    with pytest.raises(ValueError, match="from 1 to 999"):
        values.slots(text)


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "term", "sigterm", "15"])
def test_a_signal_has_three_names(text: str) -> None:
    """TERM, SIGTERM and 15 are the same."""
    assert values.signum(text) == signal.SIGTERM
    assert values.signal_name(15) == "TERM"


@pytest.mark.parametrize("text", ["", "0", "65", "-15", "_DFL", "SIG_IGN", "_BLOCK", "FOO", "STOP"])
def test_what_is_no_polite_signal_is_refused(text: str) -> None:
    """C1: no such signal, or one that never ends a process."""
    with pytest.raises(ValueError, match="TERM"):
        values.signum(text)


@pytest.mark.parametrize("text", ["0", "1", "75", "120", "128", "255"])
def test_a_skip_may_have_any_free_status(text: str) -> None:
    """0 to 255 less our own."""
    assert values.skip_status(text) == int(text)


@pytest.mark.parametrize(
    "text", ["256", "-1", "x", "", "121", "122", "123", "124", "125", "126", "127"]
)
def test_a_skip_never_looks_like_something_else(text: str) -> None:
    """A status that has a meaning is refused for skips."""
    with pytest.raises(ValueError, match=r"0 to 255|already means"):
        values.skip_status(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", (0,)),
        ("0,2", (0, 2)),
        ("2 0, 2", (0, 2)),
        ("0,10-12", (0, 10, 11, 12)),
        ("255", (255,)),
    ],
)
def test_exit_statuses_come_one_by_one_or_as_a_row(text: str, found: tuple[int, ...]) -> None:
    """In order, each once."""
    assert values.statuses(text) == found


@pytest.mark.parametrize("text", ["", ",", "256", "-1", "1-", "-", "3-1", "0;2", "x", "0x1", "٣"])
def test_what_is_no_exit_status_is_no_success(text: str) -> None:
    """C1: with a list that was misread, a failure would count as a success."""
    with pytest.raises(ValueError, match="write"):
        values.statuses(text)


@pytest.mark.parametrize(
    "name",
    ["../x", "a\nb", "{a}b", "*", "", "a" * 129, "é", "-x", ".x", "a b", "a/b", "x" * 10_000],
)
def test_a_hostile_job_name_is_refused_in_one_printable_line(name: str) -> None:
    """C3: names that could leave their key, file or line are refused."""
    with pytest.raises(ValueError, match="not a job name") as caught:
        values.job_name(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.nice, "-20", -20),
        (values.nice, "0", 0),
        (values.nice, "19", 19),
        (values.nice, "none", None),
        (values.ionice, "idle", "idle"),
        (values.ionice, "best-effort", "best-effort"),
        (values.ionice, "realtime:7", "realtime:7"),
        (values.ionice, "none", ""),
        (values.most, "64M", 64 << 20),
        (values.most, "none", 0),
        (values.percent, "150%", 150),
        (values.percent, "7", 7),
        (values.percent, "none", 0),
    ],
)
def test_limits_read_as_they_are_written(
    read: Callable[[str], object], text: str, value: object
) -> None:
    """What is lowest and highest, and none at all."""
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (values.nice, ("-21", "20", "", "-", "--1", "+5", "1.5", "٣", "²")),
        (
            values.ionice,
            ("", "idle:0", "best-effort:", "best-effort:8", "realtime:-1", "Idle", "2"),
        ),
        (values.most, ("", "0", "-1", "0M", "1X", "50%", "²M")),
        (values.percent, ("", "%", "0%", "-5%", "1.5", "50%%", "999999%", "²%")),
    ],
)
def test_what_is_no_limit_is_refused(read: Callable[[str], object], texts: tuple[str, ...]) -> None:
    """C1: a limit that was misread would be none, or one that no command can live with."""
    for text in texts:
        with pytest.raises(ValueError, match="write") as caught:
            read(text)
        assert str(caught.value).isprintable(), text
