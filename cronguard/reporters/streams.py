"""A connection over TCP that ends in time, whatever the other side does.

The timeout of a socket counts from each piece on: one that sends a byte a second is never too slow
for it. So a timer shuts the connection down at its deadline. It holds a copy of the descriptor, as
TLS takes over the one that it is given. Looking a name up knows no deadline at all, and has a
thread of its own, which is left behind.
"""

from __future__ import annotations

import socket
import ssl
import time
from queue import Empty, SimpleQueue
from threading import Lock, Thread, Timer
from typing import Self

from cronguard.reporters.contract import NotNow

TYPE_CHECKING = False
if TYPE_CHECKING:
    Found = list[tuple[socket.AddressFamily, tuple[object, ...]]]

LATE = "no answer in time"
_LEAST_SECONDS = 0.001


class Deadline:
    """Shuts down the connections made with it when its *seconds* are over."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._until = time.monotonic() + seconds
        self._copies: list[socket.socket] = []
        self._lock = Lock()
        self._timer = Timer(max(seconds, 0), self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for copy in self._copies:
                copy.close()
            self._copies.clear()

    @property
    def left(self) -> float:
        """How many seconds are left, as a timeout for a socket."""
        return max(self._until - time.monotonic(), _LEAST_SECONDS)

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to the first address of *host* that answers. Raises: NotNow."""
        problem = "it has no address"
        for family, address in self._addresses(host, port):
            target = socket.socket(family, socket.SOCK_STREAM)
            try:
                target.settimeout(self.left)
                target.connect(address)
            except OSError as error:
                target.close()
                problem = self.why(error)
            else:
                return self._watch(target)
        raise NotNow(f"{host}:{port}: {problem}")

    def why(self, error: Exception) -> str:
        """Say what went wrong with a connection."""
        if self.is_over or self.left < 0.02 or isinstance(error, TimeoutError):
            return LATE
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", "") or error.reason or "TLS"
            return f"TLS failed: {reason.replace('_', ' ').lower()}"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        return "the connection broke off"

    def _watch(self, connected: socket.socket) -> socket.socket:
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

    def _addresses(self, host: str, port: int) -> Found:
        answers: SimpleQueue[Found | str] = SimpleQueue()
        Thread(target=_look_up, args=(host, port, answers), daemon=True).start()
        try:
            found = answers.get(timeout=self.left)
        except Empty:
            found = LATE
        if isinstance(found, str):
            raise NotNow(f"{host}:{port}: its name cannot be looked up: {found}")
        return found


def _look_up(host: str, port: int, answers: SimpleQueue[Found | str]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        answers.put((error.strerror or str(error)).lower())
    except UnicodeError:
        answers.put("it is no name")
    else:
        answers.put([(family, address) for family, _, _, _, address in found])
