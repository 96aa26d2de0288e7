"""A TCP proxy between a client and a server that loses, delays, cuts and invents bytes."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on the loopback and passes bytes on to `target`, a host and a port.

    `lose_replies`: requests that contain these bytes are passed on, the replies are not ·
    `blackhole`: nothing is passed on, and nothing closed · `answer`: what to say instead of
    passing anything on · `cut_reply_to`: end the connection in the middle of the first reply to a
    request that contains these bytes · `refuse_hello`: what to say to HELLO, which ends that
    connection · `keep_back`: a request that contains these bytes is kept until `let_go` is set, and
    passed on then, though its sender may have gone.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.lose_replies: bytes | None = None
        self.lose_count = 1
        self.blackhole = False
        self.answer: bytes | None = None
        self.cut_reply_to: bytes | None = None
        self.refuse_hello: bytes | None = None
        self.delay = 0.0
        self.keep_back: bytes | None = None
        self.let_go = threading.Event()
        self.arrived = threading.Event()
        self.lost = threading.Event()
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with socket.socket() as last:  # ends accept()
            last.connect(("127.0.0.1", self.port))
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def cut(self) -> None:
        """End every connection."""
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _start(self, target: object, *args: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._over.is_set():
                client.close()
                return
            self.connections += 1
            self._open.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self.answer is not None:
                client.recv(65_536)
                self._send(client, self.answer)
                self._over.wait(0.05)
                return
            if self.blackhole:
                self._over.wait(30)
                return
            with socket.create_connection(self.target) as server:
                self._open.append(server)
                link = Pass()
                back = threading.Thread(target=self._back, args=(server, client, link), daemon=True)
                back.start()
                self._forth(client, server, link)
                back.join(10)

    def _forth(self, client: socket.socket, server: socket.socket, link: Pass) -> None:
        while data := receive(client):
            if self.refuse_hello is not None and b"HELLO" in data:
                self._send(client, self.refuse_hello)
                break
            if self.lose_replies is not None and self.lose_replies in data:
                self.lose_count -= 1
                if self.lose_count <= 0:
                    self.lose_replies = None
                link.losing = True
            if self.cut_reply_to is not None and self.cut_reply_to in data:
                self.cut_reply_to = None
                link.cutting = True
            if self.delay:
                self._over.wait(self.delay)
            if self.keep_back is not None and self.keep_back in data:
                self.keep_back = None
                self.let_go.wait(30)
                link.held = True
            self._send(server, data)
            if link.held:
                self.arrived.wait(10)  # who sent it may have gone: his end is not its end
        try:
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _back(self, server: socket.socket, client: socket.socket, link: Pass) -> None:
        while data := receive(server):
            if link.held:  # it has done what it was asked
                self.arrived.set()
            if link.losing:
                self.lost.set()
                continue
            if self.blackhole:
                continue
            if link.cutting:
                self._send(client, data[: len(data) // 2])
                break
            self._send(client, data)
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    @staticmethod
    def _send(sock: socket.socket, data: bytes) -> None:
        try:
            sock.sendall(data)
        except OSError:
            pass


class Pass:
    """What the two directions of one connection tell each other."""

    losing = False
    cutting = False
    held = False


def receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except OSError:
        return b""
