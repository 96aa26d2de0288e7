"""A real HTTP server for tests of reporters: it keeps what it is sent, and can be ill in many ways.

    with Receiver() as receiver:
        receiver.answers = [Answer(503), Answer(503)]   # and all is well after that
        …
        (request,) = receiver.requests

What it does when all is well is `usual`; `ill` is one of the words in ILLS, for every request. Give
it `tls`, the files of a certificate and of its key (tests/certificates.py), and it speaks TLS.
`check` looks at each request; what it raises as AssertionError is answered with 400 and its text.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ILLS = {
    "silent": "takes the request, and answers nothing",
    "slow": "answers after 30 s",
    "broken": "breaks the connection off after the request",
    "cut": "breaks it off within the answer's body",
    "huge": "answers with 10 MB",
    "endless": "answers with a body that never ends",
    "dripping": "sends a byte of the body at a time, for ever",
    "dripping headers": "sends a byte of a header at a time, for ever",
    "many headers": "answers with a thousand headers",
    "garbage": "answers what is no HTTP",
    "redirect": "sends elsewhere, to `elsewhere`",
    "error": "answers 500 each time",
}
HUGE_BYTES = 10 << 20
_DRIP_SECONDS = 0.02


class Answer:
    """What is answered: `status`, `headers`, `body`."""

    def __init__(
        self, status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b"OK"
    ) -> None:
        self.status = status
        self.headers = dict(headers or {})
        self.body = body


class Request:
    """What came: `method`, `path` with its query, `headers` (without regard to case), `body`.

    `ill` is how the server was when it came.
    """

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, ill: str) -> None:
        self.ill = ill
        self.method = handler.command
        self.path = handler.path
        self.headers = handler.headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Receiver:
    """Listens at `url` on 127.0.0.1 (or *host*) while it is entered."""

    def __init__(self, tls: tuple[str, str] | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.usual = Answer()
        self.ill = ""
        self.elsewhere = "http://192.0.2.1/"
        self.check: Callable[[Request], object] | None = None
        self.connections = 0
        self._over = threading.Event()
        self._server = _Server(host, self)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.tls = context
        scheme = "https" if tls is not None else "http"
        self.port = self._server.server_port
        named = f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{named}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Keep a request, and answer it."""
        ill = self.ill
        request = Request(handler, body, ill)
        self.requests.append(request)
        if ill:
            self._be_ill(handler, ill)
            return
        answer = self.answers.pop(0) if self.answers else self.usual
        try:
            if self.check is not None:
                self.check(request)
        except AssertionError as error:
            answer = Answer(400, body=f"refused: {error}".encode())
        self._answer(handler, answer)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def _be_ill(self, handler: BaseHTTPRequestHandler, ill: str) -> None:
        handler.close_connection = True
        match ill:
            case "silent":
                self._over.wait()
            case "slow":
                self._over.wait(30)
                self._answer(handler, self.usual)
            case "broken":
                handler.connection.shutdown(socket.SHUT_RDWR)
            case "huge":
                self._answer(handler, Answer(body=b"x" * HUGE_BYTES))
            case "redirect":
                self._answer(handler, Answer(307, {"Location": self.elsewhere}, b""))
            case "error":
                self._answer(handler, Answer(500, body=b"out of order"))
            case _:
                self._say(handler, ill)

    def _say(self, handler: BaseHTTPRequestHandler, ill: str) -> None:
        """Write what the library would not write."""
        write = handler.wfile.write
        match ill:
            case "cut":
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nso far")
            case "endless":
                write(b"HTTP/1.1 200 OK\r\n\r\n")
                while not self._over.is_set():
                    write(b"x" * 65_536)
            case "dripping":
                write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                self._drip(handler)
            case "dripping headers":
                write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                self._drip(handler)
            case "many headers":
                lines = "".join(f"X-{number}: {'x' * 1000}\r\n" for number in range(1000))
                write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())
            case "garbage":
                write(b"\x15\x03\x01\x00\x02\x02\x46 no HTTP at all\r\n\r\n")
            case _:
                raise ValueError(f"there is no illness {ill}")

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        while not self._over.wait(_DRIP_SECONDS):
            handler.wfile.write(b"x")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, receiver: Receiver) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.receiver = receiver
        self.tls: ssl.SSLContext | None = None
        super().__init__((host, 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Speak to one client, in its own thread."""
        self.receiver.connections += 1
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, *_: object) -> None:
        """Say nothing of who hangs up before all is said."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.receiver.take(self, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _take  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""
