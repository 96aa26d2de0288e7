"""Ends a connection at a deadline, however much of an answer still comes.

The timeout of a socket counts from each piece on: a server that sends a byte a second is never too
slow for it. So a timer shuts the connection down. It holds a copy of the descriptor, as the one of
a connection is taken over by TLS and closed by the library. Road not taken: to read in pieces
ourselves, which would have to begin with the handshake.
"""

from __future__ import annotations

import socket
from threading import Lock, Timer
from typing import Self

from urllib3.connection import HTTPConnection, HTTPSConnection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import urllib3


class Watch:
    """Shuts down what was connected through `pool` when its *seconds* are over."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._seconds = seconds
        self._copies: list[socket.socket] = []
        self._lock = Lock()
        self._timer: Timer | None = None

    def __enter__(self) -> Self:
        self.limit(self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            for copy in self._copies:
                copy.close()
            self._copies.clear()

    def limit(self, seconds: float) -> None:
        """Let it be over in so many seconds from now, instead."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Timer(max(seconds, 0), self._end)
        self._timer.daemon = True
        self._timer.start()

    def pool(self, pool: urllib3.HTTPConnectionPool) -> urllib3.HTTPConnectionPool:
        """Return *pool* with its connections watched."""
        add = self._add

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return add(super()._new_conn())

        class Encrypted(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return add(super()._new_conn())

        pool.ConnectionCls = Encrypted if pool.scheme == "https" else Plain
        return pool

    def _add(self, connected: socket.socket) -> socket.socket:
        with self._lock:
            self._copies.append(connected.dup())
        if self.is_over:
            self._end()
        return connected

    def _end(self) -> None:
        self.is_over = True
        with self._lock:
            for copy in self._copies:
                try:
                    copy.shutdown(socket.SHUT_RDWR)
                except OSError:  # it is closed already
                    pass
