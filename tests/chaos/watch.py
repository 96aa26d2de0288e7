"""A proxy that sees the renewals pass: when each was sent at the latest, and what came of it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable

from tests.chaos.testimony import boot_ns
from tests.proxy import Pass, Proxy, receive

_RUN_ID = re.compile(rb"\$32\r\n([0-9a-f]{32})\r\n")
_AGREED = re.compile(rb"\$7\r\n(?:granted|renewed)\r\n")
PATIENCE_S = 20.0


class Watch(Proxy):
    """Tells *note* of each grant and renewal that is passed back: run id, and ns since boot.

    The moment is when its request came by, so it is not before the keeper sent it. `asked` counts
    the requests of runs · `hold_next`: such a reply: `held` says that it is, `deliver` lets it go,
    and nothing after it.
    """

    def __init__(self, target: tuple[str, int], note: Callable[[str, int], None]) -> None:
        super().__init__(target)
        self.asked = 0
        self.hold_next = False
        self.held = threading.Event()
        self.deliver = threading.Event()
        self._note = note
        self._last: dict[Pass, tuple[str, int]] = {}  # what was asked on each connection

    def _forth(self, client: socket.socket, server: socket.socket, link: Pass) -> None:
        while data := receive(client):
            if found := _RUN_ID.search(data):
                self._last[link] = (found[1].decode(), boot_ns())
                self.asked += 1
            self._send(server, data)
        self._shut(server)

    def _back(self, server: socket.socket, client: socket.socket, link: Pass) -> None:
        while data := receive(server):
            if self.blackhole:
                continue
            if link in self._last and _AGREED.search(data):
                self._note(*self._last[link])
                self._hold_back()
            self._send(client, data)
        self._shut(client)

    def _hold_back(self) -> None:
        if self.hold_next:
            self.hold_next = False
            self.held.set()
            self.deliver.wait(PATIENCE_S)
            self.blackhole = True

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
