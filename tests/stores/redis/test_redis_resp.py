"""Replies as bytes: however they are split, and whatever they are."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cronguard.stores.redis.resp import (
    MAX_REPLY_BYTES,
    Garbage,
    PushNotification,
    Replies,
    ReplyError,
    pack,
)

STREAM = (
    b"%2\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    b"+OK\r\n"
    b"*2\r\n$10\r\n1795383356\r\n$6\r\n123456\r\n"
    b">3\r\n$9\r\nsubscribe\r\n$10\r\ncg:{job}:e\r\n:1\r\n"
    b"-NOSCRIPT No matching script.\r\n"
    b"*4\r\n$7\r\ngranted\r\n$13\r\n1795383356608\r\n$13\r\n1795383356608\r\n:0\r\n"
    b">3\r\n$7\r\nmessage\r\n$10\r\ncg:{job}:e\r\n$6\r\nfree a\r\n"
    b"*3\r\n$7\r\nrenewed\r\n$13\r\n1795383356609\r\n_\r\n"
    b"$0\r\n\r\n:-1\r\n#f\r\n"
)


def shown(replies: list[object]) -> list[str]:
    """Return replies so that they can be compared, errors too."""
    return [f"{type(reply).__name__} {reply!r}" for reply in replies]


WHOLE = shown(Replies().feed(STREAM))


def test_a_whole_stream_gives_its_replies() -> None:
    """Replies, errors and pushes come in order and can be told apart."""
    replies = Replies().feed(STREAM)
    assert len(replies) == 11
    assert isinstance(replies[3], PushNotification)
    assert isinstance(replies[4], ReplyError)
    assert replies[5] == [b"granted", b"1795383356608", b"1795383356608", 0]
    assert replies[8:] == [b"", -1, False]


def test_byte_by_byte_gives_the_same_replies() -> None:
    """The network may cut anywhere."""
    parser = Replies()
    found = [reply for byte in STREAM for reply in parser.feed(bytes([byte]))]
    assert shown(found) == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_replies(cuts: list[int]) -> None:
    """However the bytes are split, the replies are the same."""
    parser = Replies()
    edges = [0, *sorted(cuts), len(STREAM)]
    found: list[object] = []
    for start, end in pairwise(edges):
        found += parser.feed(STREAM[start:end])
    assert shown(found) == WHOLE


@given(st.lists(st.binary(max_size=300), max_size=8))
@example([b"%1\r\n*0\r\n+x\r\n"])
@example([b"*1000000000\r\n"])
@example([b"*10000000", b"00\r\n"])
@example([b"~999999999\r\n", b"*4096\r\n" * 20])
@example([b"!5\r\nERR x\r\n"])
@example([b"$-2\r\n"])
def test_garbage_is_replies_or_garbage(parts: list[bytes]) -> None:
    """R24: whatever comes, it is taken as replies or refused, and nothing else happens."""
    parser, shown = Replies(), ""
    try:
        for part in parts:
            parser.feed(part)
    except Garbage as error:
        shown = str(error)
    assert shown.isascii()
    assert len(shown) < 100


def feed_in_parts(data: bytes, size: int) -> None:
    """Feed a new parser, so many bytes at a time."""
    parser = Replies()
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])


@pytest.mark.parametrize("header", [b"$536870912", b"*1000000000", b"%99999999", b">5000000"])
@pytest.mark.parametrize("split", [1, 3, 100])
def test_a_huge_length_is_refused_at_once(header: bytes, split: int) -> None:
    """R24: a length beyond all bounds is refused before anything is reserved for it."""
    data = b"*3\r\n+a\r\n" + header + b"\r\n"
    tracemalloc.start()
    with pytest.raises(Garbage, match="length"):
        feed_in_parts(data, split)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_an_endless_line_is_refused() -> None:
    """R24: a reply that never ends is given up after 4 MB."""
    parser = Replies()
    for _ in range(MAX_REPLY_BYTES // 65_536):
        assert parser.feed(b"+" * 65_536) == []
    with pytest.raises(Garbage, match="more than 4 MB"):
        parser.feed(b"+")


def test_many_small_replies_are_not_a_long_one() -> None:
    """The bound is per reply, not per connection."""
    parser = Replies()
    reply = b"$60000\r\n" + b"x" * 60_000 + b"\r\n"
    for _ in range(100):
        assert len(parser.feed(reply)) == 1


def test_http_is_quoted() -> None:
    """R24: the first line of what is no Redis can be shown to the user."""
    with pytest.raises(Garbage, match=r"HTTP/1\.1 400 Bad Request"):
        Replies().feed(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")


def test_a_command_is_packed_as_bytes() -> None:
    """Words, numbers and bytes go over the wire with their lengths in bytes."""
    assert pack("SET", "é", 12, b"\r\n") == (
        b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n$2\r\n\r\n\r\n"
    )
