"""Bytes that claim to be replies: taken or refused, however they are cut, within bounds."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.stores.redis.resp import MAX_ITEMS, Garbage, Replies
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.test_fuzz_server import maps, values

MOST_BYTES = 2_000_000
"""What a few hundred bytes may make us reserve."""
_HEADERS = st.builds(
    lambda mark, size, end: mark + size + end,
    st.sampled_from([b"*", b"$", b"%", b"~", b">", b"|", b"=", b"!", b"+", b":", b"("]),
    st.sampled_from(
        [b"0", b"1", b"2", b"3", b"-1", b"4096", b"4095", b"8193", b"99999999", b"1000000000",
         b"+5", b" 5", b"0000000005", b"a" * 30, b"", b"?"]
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"XX", b"\r\r\n"]),
)  # fmt: skip
streams = st.lists(st.one_of(_HEADERS, _HEADERS, values, maps, st.binary(max_size=9)), max_size=20)


def taken(data: bytes, cuts: list[int]) -> tuple[list[str], bool]:
    """Return the replies in *data* cut so, as text, and whether it ended as garbage."""
    parser, found = Replies(), list[str]()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        try:
            found += [shown(reply) for reply in parser.feed(data[start:end])]
        except Garbage as error:
            said = str(error)
            assert said.isascii()
            assert said.isprintable()
            assert len(said) < 100
            return found, True
    return found, False


def shown(reply: object) -> str:
    """Return a reply so that it can be compared."""
    try:
        return f"{type(reply).__name__} {reply!r}"
    except RecursionError:
        return "lists within lists"


def check(data: bytes, cuts: list[int]) -> None:
    """See that *data* is taken or refused the same way, cut or not, and costs little."""
    tracemalloc.start()
    try:
        in_parts, refused_in_parts = taken(data, cuts)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MOST_BYTES + 200 * len(data)
    at_once, refused_at_once = taken(data, [])
    assert refused_in_parts == refused_at_once
    if not refused_at_once:
        assert in_parts == at_once


@given(streams.map(b"".join), st.lists(st.integers(0, 2_000), max_size=6))
@fuzzed(100)
def test_any_bytes_are_replies_or_garbage_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    """R24: the network's cuts change nothing, and no length is believed that is beyond bounds."""
    check(data, cuts)


@replayed("resp")
def test_bytes_that_once_did_harm(kept: bytes) -> None:
    """R24: the corpus, whole, in two parts at every place, and byte by byte."""
    for cut in range(0, len(kept), max(len(kept) // 20, 1)):
        check(kept, [cut])
    check(kept, list(range(min(len(kept), 500))))


@pytest.mark.parametrize(
    "data",
    [
        b"$3\r\nabcXX*99999999\r\n",
        b"$0\r\n\r\r*99999999\r\n",
        b"+" + b"a" * 30 + b"\r\n*99999999\r\n",
        b"*4096\r\n" * 50,
        b"%4096\r\n" * 50,
    ],
)
def test_no_length_gets_past_the_check(data: bytes) -> None:
    """R24: not behind a bulk without its end, nor after a long line, nor one within another."""
    for cut in range(len(data) + 1):
        assert taken(data, [cut])[1], cut


def test_the_bound_is_for_one_reply_and_not_for_a_connection() -> None:
    """Many replies that are each in bounds are taken."""
    reply = b"*%d\r\n" % MAX_ITEMS + b":1\r\n" * MAX_ITEMS
    parser = Replies()
    for _ in range(5):
        assert len(parser.feed(reply)) == 1
    assert parser.feed(b"*0\r\n$-1\r\n*-1\r\n") == [[], None, None]
