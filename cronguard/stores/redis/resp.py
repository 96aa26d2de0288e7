"""RESP on the wire: commands packed, replies taken apart by hiredis, garbage refused in bounds.

hiredis believes every length it reads: `*1000000000` makes it reserve 8 GB at once, `*4096` a
thousand times over as much, each within the last, and a long `$` makes the caller buffer for ever.
So lengths are checked before it sees them, by its own rules: it does not look at the two bytes that
end a bulk. Our replies are small: a start record, a few facts, a handful of fields.

Roads not taken: a parser of our own (hiredis is there anyway, and knows RESP3).
"""

from __future__ import annotations

from hiredis.hiredis import HiredisError, PushNotification, Reader, ReplyError
from hiredis.hiredis import pack_command as _pack

__all__ = ("Garbage", "PushNotification", "Replies", "ReplyError", "pack")

MAX_REPLY_BYTES = 4 << 20
MAX_ITEMS = 4096
_MORE = object()
_BULKS = b"$=!"
_LISTS = b"*%~>"
_ATTRIBUTES = b"|"
_HEADER_BYTES = 24


def pack(*words: str | int | bytes) -> bytes:
    """Return one command as it goes over the wire."""
    packed: bytes = _pack(words)  # type: ignore[arg-type]  # its stub knows only tuples of one
    return packed


class Garbage(Exception):
    """The bytes are no reply of a Redis server, or one beyond all bounds."""


class Replies:
    """Takes bytes as they come, returns whole replies; the same however the bytes were split."""

    __slots__ = ("_held", "_items", "_left", "_line", "_reader", "_skip")

    def __init__(self) -> None:
        self._reader = Reader(notEnoughData=_MORE)
        self._line = b""  # the unfinished line, or its beginning
        self._held = 0  # bytes fed since the last whole reply
        self._skip = 0  # bytes of the bulk that is under way, with the two after it
        self._left = 1  # items that are yet to come until the reply is whole
        self._items = 0  # announced in it so far

    def feed(self, data: bytes) -> list[object]:
        """Return the replies that *data* completes, in order. Raises: Garbage."""
        self._check_lengths(data)
        self._held += len(data)
        replies = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                replies.append(reply)
                self._held = 0
        except (HiredisError, TypeError, ValueError, MemoryError, RecursionError) as error:
            raise Garbage(_shown(data)) from error
        if self._held > MAX_REPLY_BYTES:
            raise Garbage("a reply of more than 4 MB")
        return replies

    def _check_lengths(self, data: bytes) -> None:
        """Refuse headers that announce more than we would ever ask for. Raises: Garbage."""
        data, at = self._line + data, 0
        self._line = b""
        while True:
            skipped = min(self._skip, len(data) - at)
            at += skipped
            self._skip -= skipped
            end = data.find(b"\r\n", at)
            if self._skip or end < 0:
                break
            self._check_header(data[at : min(end, at + _HEADER_BYTES)])
            at = end + 2
        rest = data[at:]
        half = rest[_HEADER_BYTES:][-1:] == b"\r"  # of the end of a line that is longer than that
        self._line = rest[:_HEADER_BYTES] + (b"\r" if half else b"")

    def _check_header(self, line: bytes) -> None:
        """Take the first line of an item. Raises: Garbage."""
        kind, size = line[:1], line[1:]
        if kind == _ATTRIBUTES:
            raise Garbage("attributes, which nobody asked for")
        self._left -= 1
        if kind and kind in _BULKS + _LISTS and size.isdigit():
            most = MAX_ITEMS if kind in _LISTS else MAX_REPLY_BYTES
            if len(size) > 9 or int(size) > most:
                raise Garbage(f"a reply of length {size[:20].decode()}")
            if kind in _BULKS:
                self._skip = int(size) + 2
            else:
                self._announce(int(size) * (2 if kind == b"%" else 1))
        if not self._left:
            self._left, self._items = 1, 0

    def _announce(self, items: int) -> None:
        """Count what a list is to hold, in all lists of one reply. Raises: Garbage."""
        self._left += items
        self._items += items
        if self._items > MAX_ITEMS * 2:
            raise Garbage(f"a reply of more than {MAX_ITEMS} items")


def _shown(data: bytes) -> str:
    """Return the beginning of *data* as it may stand in a message."""
    line = data.split(b"\r\n")[0].split(b"\n")[0][:60].decode("ascii", "replace")
    return "".join([char if char.isprintable() and char.isascii() else "?" for char in line])
