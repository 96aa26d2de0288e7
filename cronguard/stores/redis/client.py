"""redis-py, set up for an address: answers in bytes, one retry, RESP2 (no pushes are wanted)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from cronguard.stores.address import Address

TIMEOUT_S = 5.0
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.AuthenticationError, "WRONGPASS"),
)


def connect(address: Address) -> redis.Redis:
    """Return a client for *address*; nothing is sent yet."""
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.user or None,
        "password": address.password or None,
        "socket_timeout": TIMEOUT_S,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 1),
    }
    if address.path:
        return redis.Redis(unix_socket_path=address.path, **options)
    options |= {"host": address.host, "port": address.port, "socket_connect_timeout": TIMEOUT_S}
    if address.tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": address.tls_ca or None,
            "ssl_certfile": address.tls_cert or None,
            "ssl_keyfile": address.tls_key or None,
            "ssl_cert_reqs": "required" if address.tls_verify else "none",
            "ssl_check_hostname": address.tls_verify,
        }
    client = redis.Redis(**options)
    if address.tls_server_name:
        client.connection_pool.connection_class = _expecting(address.tls_server_name)
    return client


def _expecting(name: str) -> type[redis.SSLConnection]:
    """Return a connection that checks the certificate for *name*, not for the host.

    redis-py has no option for it. Should it rename its method, the check is for the host again:
    it fails closed.
    """

    class Expecting(redis.SSLConnection):
        def _wrap_socket_with_ssl(self, sock: object) -> object:
            host, self.host = self.host, name
            try:
                return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
            finally:
                self.host = host

    return Expecting


def server_words(error: redis.exceptions.RedisError) -> str:
    """Return the error as the server sent it: redis-py takes the code off some."""
    text = str(error)
    if text.startswith("Authentication required"):
        return f"NOAUTH {text}"
    if text.startswith("DB index"):
        return f"ERR {text}"
    for kind, code in _CODES:
        if isinstance(error, kind) and not text.startswith(code):
            return f"{code} {text}"
    return text


def said_by(error: OSError) -> str:
    """Return why there is no connection, in a few words."""
    return str(error.strerror or error).lower()
