"""A real mail server for tests of reporters (aiosmtpd), and a line that says what it is told to.

with Postoffice(certificates, tls="starttls", login=("me", "secret")) as office:
    office.rcpt["nobody@example.com"] = "550 no such user"
    …
    (letter,) = office.letters
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.smtp import SMTP, AuthResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage

    from tests.certificates import Certificates


class Letter:
    """What was taken: `sender` and `to` of the envelope, `mail`, and its bytes, `raw`."""

    def __init__(self, envelope: Any, *, is_encrypted: bool, user: str) -> None:
        self.sender = envelope.mail_from
        self.to = list(envelope.rcpt_tos)
        self.raw: bytes = envelope.content
        self.mail: EmailMessage = message_from_bytes(self.raw, policy=policy.default)
        self.is_encrypted = is_encrypted
        self.user = user

    @property
    def text(self) -> str:
        """The body, with lines as this system has them."""
        return str(self.mail.get_content()).replace("\r\n", "\n")


class Postoffice:
    """Listens at `port` on 127.0.0.1.

    Answers: `rcpt` by address, `data` to the mail, `from_` to its sender; all are well while they
    are empty. `silent` is a command after which nothing is said any more.
    """

    def __init__(
        self,
        certificates: Certificates | None = None,
        *,
        tls: str = "none",
        login: tuple[str, str] | None = None,
        certificate: str = "server",
    ) -> None:
        self.letters: list[Letter] = []
        self.rcpt: dict[str, str] = {}
        self.data = ""
        self.from_ = ""
        self.silent = ""
        self.login = login
        self.port = 0
        self._tls = tls
        self._context = None
        if certificates is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(
                certificates.path(certificate), certificates.key(certificate)
            )
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the mail server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        implicit = self._context if self._tls == "tls" else None
        making = self._loop.create_server(self._session, "127.0.0.1", 0, ssl=implicit)
        server = self._loop.run_until_complete(making)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _session(self) -> SMTP:
        return SMTP(
            self,
            hostname="post.test",
            loop=self._loop,
            tls_context=self._context if self._tls == "starttls" else None,
            require_starttls=self._tls == "starttls",
            authenticator=self._authenticate if self.login else None,
            auth_required=self.login is not None and self._tls == "starttls",
            auth_exclude_mechanism=[] if self.login else ["LOGIN", "PLAIN"],
            auth_require_tls=self._tls == "starttls",
        )

    def _authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _how: str, said: Any
    ) -> Any:
        got = (said.login.decode(), said.password.decode())
        return AuthResult(success=got == self.login, handled=False, auth_data=got[0])

    async def _may_be_silent(self, command: str) -> None:
        if self.silent == command:
            await asyncio.Event().wait()

    async def handle_MAIL(  # noqa: N802 - the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        await self._may_be_silent("MAIL")
        envelope.mail_from = address
        return self.from_ or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        await self._may_be_silent("RCPT")
        if address in self.rcpt:
            return self.rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await self._may_be_silent("DATA")
        if self.data:
            return self.data
        is_encrypted = server.transport.get_extra_info("sslcontext") is not None
        user = str(session.auth_data or "")
        self.letters.append(Letter(envelope, is_encrypted=is_encrypted, user=user))
        return "250 taken"


class Line:
    """Listens at `port`, and lets *speak* have each connection, in a thread."""

    def __init__(self, speak: Callable[[socket.socket, threading.Event], object]) -> None:
        self.over = threading.Event()
        self._speak = speak
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()
        for connection in self._connections:
            if connection.fileno() >= 0:  # one that still sends would wait for room for ever
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # nobody is there any more
                    pass
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._speak(connection, self.over)
            except OSError:  # who was spoken to has left
                pass


def silent(_connection: socket.socket, over: threading.Event) -> None:
    """Say nothing."""
    over.wait()


def dripping(connection: socket.socket, over: threading.Event) -> None:
    """Say a letter at a time."""
    connection.sendall(b"220 ")
    while not over.wait(0.02):
        connection.sendall(b"x")


def endless(connection: socket.socket, over: threading.Event) -> None:
    """Never come to an end of the greeting."""
    while not over.is_set():
        connection.sendall(b"220-and\r\n" * 100)


def rude(connection: socket.socket, _over: threading.Event) -> None:
    """Hang up."""
    connection.recv(1, socket.MSG_DONTWAIT)
