"""Turn host names into addresses without blocking the loop: in a thread of its own, once.

getaddrinfo(3) has no other way, and may take 30 s. The guardian is forked by then, so a thread
does no harm (PDEATHSIG and fork look at threads). Addresses in figures never come here.
"""

from __future__ import annotations

import os
from _socket import AI_NUMERICHOST, EAI_NONAME, SOCK_STREAM, gaierror, getaddrinfo
from _thread import start_new_thread

Place = tuple[int, tuple[str | int | bytes, ...] | str]
"""Address family, and what connect(2) wants."""


def in_figures(host: str, port: int) -> list[Place]:
    """Return the place of a host given in figures; empty if it is a name."""
    try:
        # As bytes: a str would be encoded with the idna codec, which costs 5 ms to import.
        found = getaddrinfo(host.encode(), port, 0, SOCK_STREAM, 0, AI_NUMERICHOST)
    except gaierror as error:
        if error.errno == EAI_NONAME:
            return []
        raise
    return [(family, place) for family, _, _, _, place in found]


class Resolution:
    """One look-up under way. `fd` becomes readable when it is `done`; then `places` or `why`."""

    __slots__ = ("done", "fd", "host", "places", "why")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.done = False
        self.places: list[Place] = []
        self.why = ""
        # The thread owns the other end, and only closes it: we may be gone when it is done.
        self.fd, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            start_new_thread(self._look_up, (host, port, theirs))
        except RuntimeError:
            os.close(theirs)
            self.done, self.why = True, "no thread can be started to look it up"

    def _look_up(self, host: str, port: int, fd: int) -> None:
        try:
            found = getaddrinfo(host.encode(), port, 0, SOCK_STREAM)
            self.places = [(family, place) for family, _, _, _, place in found]
        except OSError as error:
            self.why = (error.strerror or str(error)).lower()
        self.done = True
        os.close(fd)

    def close(self) -> None:
        """Let go of the descriptor; the thread may take as long as it likes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
