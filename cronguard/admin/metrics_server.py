"""Serves metrics over HTTP, by prometheus-client's application in the standard library's server.

A scraper that dawdles holds a thread, for so long as its socket may be silent, and there are only
so many of them: whoever comes beyond that is sent away. The name of this host is asked nowhere (the
standard library's server does, and a resolver may take minutes).
"""

from __future__ import annotations

import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from cronguard.config.options import ConfigError
from cronguard.core.words import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOOPBACK = "127.0.0.1"
_MOST = 32
_SILENT_S = 10
Address = tuple[str, int]


def address_of(text: str) -> Address:
    """Return host and port of `9110`, `:9110`, `host:9110` or `[::1]:9110`; loopback by default.

    Raises: ValueError.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{printable(text, 80)} is no address; write [::1]:9110 for IPv6")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"{printable(text, 80)} is no address; write 9110 or 10.0.0.5:9110")
    return host or LOOPBACK, int(port)


class MetricsServer:
    """Serves *registry* at *address* from the moment it is made, in threads, until `stop`.

    Raises: ConfigError, if it cannot listen there.
    """

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        try:
            self._server = _Server(address)
        except OSError as error:
            host, port = address
            what = printable(error.strerror or error)
            raise ConfigError(
                f"cannot listen on {printable(host)}, port {port}: {what}; give --listen another"
            ) from None
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def server_address(self) -> Address:
        """Return where it listens, with the port that was free if 0 was asked for."""
        return self._server.server_name, self._server.server_port

    @property
    def url(self) -> str:
        """Return where it serves."""
        host, port = self.server_address
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}/metrics"

    def stop(self, patience_s: float) -> None:
        """Take no more, and wait so long for those who are being answered."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._server.idle:
            self._server.idle.wait_for(lambda: not self._server.busy, patience_s)


class _Handler(WSGIRequestHandler):
    """Says nothing about requests; a client that is silent is left."""

    timeout = _SILENT_S

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = _MOST

    def __init__(self, address: Address) -> None:
        self.busy = 0
        self.idle = threading.Condition()
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, place = found[0]
        super().__init__((str(place[0]), int(place[1])), _Handler)

    def server_bind(self) -> None:
        """Bind, as HTTPServer does but for asking what the host's name is."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread, if there is one left."""
        with self.idle:
            if self.busy >= _MOST:
                self.shutdown_request(request)  # type: ignore[arg-type]
                return
            self.busy += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and be counted no more."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            with self.idle:
                self.busy -= 1
                self.idle.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave a client that went away, or was silent, without a traceback."""
