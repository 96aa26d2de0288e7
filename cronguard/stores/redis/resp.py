"""RESP on the wire: commands packed, replies taken apart by hiredis, garbage refused in bounds.

hiredis believes every length it reads: `*1000000000` makes it reserve 8 GB at once, and a long
`$` makes the caller buffer for ever. So lengths are checked before it sees them. Our replies are
small: a start record, a few facts, a handful of fields.

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
_LISTS = b"*%~>|"
_HEADER_BYTES = 24


def pack(*words: str | int | bytes) -> bytes:
    """Return one command as it goes over the wire."""
    packed: bytes = _pack(words)  # type: ignore[arg-type]  # its stub knows only tuples of one
    return packed


class Garbage(Exception):
    """The bytes are no reply of a Redis server, or one beyond all bounds."""


class Replies:
    """Takes bytes as they come, returns whole replies; the same however the bytes were split."""

    __slots__ = ("_held", "_line", "_reader")

    def __init__(self) -> None:
        self._reader = Reader(notEnoughData=_MORE)
        self._line = b""  # the unfinished line, or its beginning
        self._held = 0  # bytes fed since the last whole reply

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
        """Refuse headers that announce more than we would ever ask for.

        What looks like a header inside a bulk is refused as well; nothing that we store has a raw
        line break in it.
        """
        lines = (self._line + data).split(b"\r\n")
        self._line = lines.pop()[:_HEADER_BYTES]
        for line in lines:
            if len(line) > 4 and (line[0] in _BULKS or line[0] in _LISTS):
                size = line[1:]
                most = MAX_ITEMS if line[0] in _LISTS else MAX_REPLY_BYTES
                if size.isdigit() and (len(size) > 9 or int(size) > most):
                    raise Garbage(f"a reply of length {size[:20].decode()}")


def _shown(data: bytes) -> str:
    """Return the beginning of *data* as it may stand in a message."""
    line = data.split(b"\r\n")[0].split(b"\n")[0][:60].decode("ascii", "replace")
    return "".join([char if char.isprintable() and char.isascii() else "?" for char in line])
