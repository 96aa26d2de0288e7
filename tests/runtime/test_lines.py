"""Lines, prefixes and what a log is made of: in whatever pieces the output comes."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.config.values import LONGEST_PREFIX
from cronguard.core import logline
from cronguard.runtime.lines import LONGEST, Lines
from cronguard.runtime.prefix import Prefix

TOLD = logline.Told("job", "f00d" * 8, "web-3", 12, ["sh", "-c", "a\nb \xe9 \udcff"])
SAID = st.lists(st.text("ab\n\0\xe9", max_size=9).map(str.encode) | st.just(b"\xff\n"), max_size=9)


@given(pieces=SAID)
def test_no_byte_is_lost_between_lines(pieces: list[bytes]) -> None:
    """What comes out is what went in, in whole lines, and the rest at the end."""
    lines, found = Lines(), b""
    for piece in pieces:
        whole, cut = lines.add(piece)
        assert not whole or whole.endswith(b"\n")
        assert not cut
        found += whole
    assert found + lines.end() == b"".join(pieces)
    assert lines.end() == b""


def test_a_line_without_end_takes_no_more_memory_than_its_bound() -> None:
    """It is cut, and nothing of it is lost."""
    lines, found = Lines(), 0
    for _ in range(100):
        whole, cut = lines.add(b"x" * 10_000)
        assert not whole
        assert len(cut) <= LONGEST + 10_000
        found += len(cut)
    assert found + len(lines.end()) == 1_000_000


def test_o2_a_line_that_comes_byte_by_byte_is_kept_as_its_bytes() -> None:
    """O2: dots of progress take their bytes, and no list that is added up each time."""
    lines = Lines()
    tracemalloc.start()
    for _ in range(60_000):
        assert lines.add(b".") == (b"", b"")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
    assert lines.end() == b"." * 60_000


def prefix(text: str, *, whole: bool = False, stream: int = 1) -> Prefix:
    return Prefix(text, stream, {"job": "j", "host": "h"}, lambda: 0, whole=whole)


def put(one: Prefix, data: bytes) -> bytes:
    return b"".join(one.put(data))


@given(pieces=SAID, whole=st.booleans())
def test_each_line_has_the_prefix_once(pieces: list[bytes], whole: bool) -> None:
    """However the output is cut, and also before a last line that has no end, or gets one."""
    one = prefix("> ", whole=whole)
    said = b"".join([put(one, piece) for piece in pieces]) + one.end()
    lines = b"".join(pieces).split(b"\n")
    last = lines.pop()
    end = b"\n" if whole else b""
    wanted = b"".join([b"> " + line + b"\n" for line in lines])
    wanted += b"> " + last + end if last else b""
    assert said == wanted


def test_what_has_no_end_yet_is_shown_at_once_where_nobody_else_writes() -> None:
    """A question waits for its answer; where another stream may come between, it waits itself."""
    assert put(prefix("> "), b"really? ") == b"> really? "
    assert put(prefix("> ", whole=True), b"really? ") == b""
    assert put(prefix("> ", whole=True), b"x" * (LONGEST + 1)).startswith(b"> xxx")


@pytest.mark.parametrize("whole", [False, True])
def test_o1_prefixes_of_empty_lines_are_not_all_there_at_a_time(whole: bool) -> None:
    """O1: of 65,536 lines, with the longest of prefixes."""
    text = "p" * LONGEST_PREFIX
    one, size = prefix(text, whole=whole), 0
    tracemalloc.start()
    for piece in one.put(b"\n" * 65_536):
        assert piece.endswith(b"\n"), "what another stream writes comes between lines"
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 65_536 * (len(text) + 1)
    assert peak < 6_000_000


def test_fields_are_filled_in() -> None:
    """Of the run, the stream, and the moment."""
    text = "{job}@{host} {stream} {time}: "
    told = put(prefix(text, stream=2), b"x\n")
    assert told == b"j@h stderr 1970-01-01T00:00:00.000Z: x\n"


@given(line=st.binary(max_size=50).filter(lambda data: b"\n" not in data))
def test_an_object_gives_back_every_byte(line: bytes) -> None:
    """NULs, controls, and what is no UTF-8: it is JSON in ASCII, and nothing is lost."""
    data = logline.objects(TOLD, 5, 2, [line, b"next"])
    first, second = (json.loads(one) for one in data.decode("ascii").splitlines())
    assert first["message"].encode("utf-8", "surrogateescape") == line
    assert (first["stream"], first["job"], second["message"]) == ("stderr", "job", "next")
    assert "partial" not in first


def test_a_piece_of_a_line_says_so() -> None:
    """Whoever reads the objects can put it together."""
    (piece,) = logline.objects(TOLD, 5, 1, [b"x"], is_cut=True).splitlines()
    assert json.loads(piece)["partial"] is True
    assert logline.objects(TOLD, 5, 1, [], is_cut=True) == b""


@pytest.mark.parametrize("as_json", [False, True])
def test_what_stands_around_the_output_is_one_line(as_json: bool) -> None:
    """Whatever the command or the reason holds."""
    lines = [
        logline.begin(TOLD, 5, as_json=as_json),
        logline.end(TOLD, 5, "timed_out", "a\nb", 124, 61_000, as_json=as_json),
        logline.lost(TOLD, 5, 9, "no space left on device", as_json=as_json),
    ]
    for line in lines:
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert b"f00df00d" in line
    if as_json:
        assert [json.loads(line)["event"] for line in lines] == ["begin", "end", "lost"]
        assert json.loads(lines[0])["command"] == TOLD.command
    else:
        assert b"timed out after 1m01s, exit status 124 (a" in lines[1]
