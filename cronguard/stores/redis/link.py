"""One connection that never blocks: bytes out, replies in.

Roads not taken: `socket` (its `enum` costs 5 ms at start; its C core has all we need), asyncio.
"""

from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    IPPROTO_TCP,
    SO_ERROR,
    SO_KEEPALIVE,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
    socket,
)
from errno import EAGAIN, EINPROGRESS, EINTR

from cronguard.stores.redis.resp import Garbage, Replies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address
    from cronguard.stores.redis.resolve import Place
    from cronguard.stores.redis.tls import Tls

POLLIN, POLLOUT = 1, 4  # poll(2); `select` is not needed for two numbers
READS = 8
"""How much is taken at a time, in 64 KB: who sends without end is not to keep us from all else."""
DEAD_AFTER_MS = 10_000
"""TCP_USER_TIMEOUT: sent bytes that nobody acknowledged for so long end the connection."""


class Broken(Exception):
    """The connection is of no more use. `denied` when a new one would not be either."""

    def __init__(self, why: str, denied: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.denied = denied


class Link:
    """A socket on its way to, or connected to, one place.

    `greeted` once the server knows who we are (the wire sets it) · `broken` why it is of no more
    use, once the replies before that have been taken.
    """

    __slots__ = ("_connecting", "_out", "_replies", "_sock", "_tls", "_unsent", "broken", "greeted")

    def __init__(self, address: Address, place: Place) -> None:
        family, where = place
        self.broken: Broken | None = None
        self.greeted = False
        self._connecting = True
        self._out = bytearray()
        self._unsent = ""  # why sending failed
        self._replies = Replies()
        self._tls: Tls | None = None
        self._sock = socket(family, SOCK_STREAM)
        self._sock.setblocking(False)
        if family != AF_UNIX:
            _tune(self._sock)
        if address.tls:
            self._start_tls(address)
        try:
            error = self._sock.connect_ex(where)
        except OSError:  # a path too long for a socket
            self._sock.close()
            raise
        # A unix socket whose backlog is full says EAGAIN, and has no way to tell when it is not.
        if error not in (0, EINPROGRESS, EINTR):
            self._fail(_trouble(error))
        elif not error:
            self._connecting = False

    def _start_tls(self, address: Address) -> None:
        from cronguard.stores.redis.tls import Tls, TlsRefused  # noqa: PLC0415  30 ms, for rediss

        try:
            self._tls = Tls(address)
        except TlsRefused as error:
            self._fail(str(error), denied=True)

    @property
    def securing(self) -> bool:
        """Tell whether TLS is being agreed on: a port without TLS never says a word to that."""
        return self._tls is not None and not self._tls.ready and not self._connecting

    def watch(self) -> tuple[int, int]:
        """Return the descriptor and the poll(2) events to wait for."""
        if self._connecting:
            return self._sock.fileno(), POLLOUT
        return self._sock.fileno(), POLLIN | (POLLOUT if self._out else 0)

    def write(self, data: bytes) -> None:
        """Send *data* as soon as the socket takes it."""
        if self._tls is None:
            self._out += data
        elif not self.broken:
            self._through_tls(b"", data)
        if not self._connecting:
            self._flush()

    def advance(self) -> list[object]:
        """Move what can be moved without waiting; return the replies that are complete."""
        if self.broken or not self._connected():
            return []
        self._flush()
        replies: list[object] = []
        try:
            for _ in range(READS):
                data = self._receive()
                if not data:
                    break
                replies += self._replies.feed(data)
        except Garbage as error:
            self._fail(f"it is not a Redis server (it answered {str(error)!r})", denied=True)
        if self._unsent:
            self._fail(self._unsent)
        return replies

    def close(self) -> None:
        """Let go of the socket."""
        self._sock.close()

    def _connected(self) -> bool:
        """Tell whether the connection stands; learn it from the socket if it has just done so."""
        if self._connecting:
            from select import poll  # noqa: PLC0415  loaded long since by whoever waits for us

            asked = poll()
            asked.register(self._sock.fileno(), POLLOUT)
            if not asked.poll(0):
                return False
            self._connecting = False
            if error := self._sock.getsockopt(SOL_SOCKET, SO_ERROR):
                self._fail(_trouble(error))
                return False
        return True

    def _flush(self) -> None:
        """Send what waits. A failure is only noted: the reason may stand unread in the socket."""
        while self._out:
            try:
                sent = self._sock.send(self._out)
            except BlockingIOError:
                return
            except OSError as error:
                self._out.clear()
                self._unsent = _trouble(error.errno or 0)
                return
            del self._out[:sent]

    def _receive(self) -> bytes:
        """Return bytes that have come, decrypted; none when there are no more for now."""
        while True:
            try:
                data = self._sock.recv(65_536)
            except BlockingIOError:
                return b""
            except OSError as error:
                why = _trouble(error.errno or 0)
                self._fail(self._tls.reset(why) if self._tls else why)
                return b""
            if not data:
                self._fail("it closed the connection")
                return b""
            if self._tls is None:
                return data
            if (plain := self._through_tls(data)) or self.broken:
                return plain

    def _through_tls(self, received: bytes, data: bytes = b"") -> bytes:
        """Pass bytes through the TLS session, and send what it wants sent.

        One that fails before a word was heard is refused; later, it is the line, as any other.
        """
        assert self._tls is not None
        if data:
            self._tls.write(data)
        plain = b"" if self._tls.failed else self._tls.advance(received)
        if self._tls.failed:
            self._fail(self._tls.failed, denied=not self._tls.heard)
        self._out += self._tls.to_send()
        if not self._connecting:
            self._flush()
        return plain

    def _fail(self, why: str, denied: bool = False) -> None:
        if self.broken is None or denied:
            self.broken = Broken(why, denied)


def _tune(sock: socket) -> None:
    """Send at once, and notice a peer that vanished without a word."""
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    sock.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 15)
    sock.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 5)
    sock.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 3)
    sock.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_MS)


def _trouble(error: int) -> str:
    """Return the system's words for *error*, as part of a sentence."""
    if error == EAGAIN:
        return "its socket takes no more connections"
    return os.strerror(error).lower()
