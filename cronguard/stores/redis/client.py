"""redis-py, set up for an address: answers in bytes, one retry, RESP2 (no pushes are wanted)."""

from __future__ import annotations

import os
from errno import ECONNRESET
from ssl import SSLError
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cronguard.stores.redis.tls import TlsRefused, context, explained, hung_up

if TYPE_CHECKING:
    from socket import socket

    from cronguard.stores.address import Address

TIMEOUT_S = 5.0
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.AuthenticationError, "WRONGPASS"),
    (redis.exceptions.MovedError, "MOVED"),
    (redis.exceptions.AskError, "ASK"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.ClusterCrossSlotError, "CROSSSLOT"),
)


def connect(address: Address) -> redis.Redis:
    """Return a client for *address*; nothing is sent yet."""
    if address.kind == "sentinel":
        return _connect_by(sentinels(address), address)
    options = {"db": address.db, "retry": Retry(NoBackoff(), 1), **_who(address)}
    if address.path:
        return redis.Redis(unix_socket_path=address.path, **options)
    options |= {"host": address.host, "port": address.port, **_how(address)}
    client = redis.Redis(**options)
    _secure(client, redis.SSLConnection, address)
    return client


def sentinels(address: Address) -> redis.sentinel.Sentinel:
    """Return the sentinels of *address*; nothing is sent yet."""
    to_them = address.sentinel_at(address.host, address.port)
    found: redis.sentinel.Sentinel = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call,unused-ignore]
        address.nodes,
        sentinel_kwargs={"retry": Retry(NoBackoff(), 1), **_who(to_them), **_how(to_them)},
    )
    for client in found.sentinels:
        _secure(client, redis.SSLConnection, to_them)
    return found


def _connect_by(found: redis.sentinel.Sentinel, address: Address) -> redis.Redis:
    """Return a client for the master that sentinels name; they are asked at each connection."""
    options = {"db": address.db, "retry": Retry(NoBackoff(), 1), **_who(address), **_how(address)}
    client: redis.Redis = found.master_for(address.master, **options)  # type: ignore[no-untyped-call,unused-ignore]
    _secure(client, redis.sentinel.SentinelManagedSSLConnection, address)
    return client


def connect_cluster(address: Address) -> redis.RedisCluster:
    """Return a client for the Cluster at *address*, which has answered by then."""
    first, *others = address.nodes
    how = _how(address)
    if how.pop("ssl", False):  # only where it is given a URL, it lets us choose the connections
        how["url"] = f"rediss://{address.at(*first).server}"
        how["connection_pool_class"] = _secured_pool(address)
    else:
        others = address.nodes
    client: redis.RedisCluster = redis.RedisCluster(  # type: ignore[no-untyped-call,unused-ignore]
        startup_nodes=[redis.cluster.ClusterNode(*node) for node in others],  # type: ignore[no-untyped-call,unused-ignore]
        require_full_coverage=False,
        retry=Retry(NoBackoff(), 1),
        **_who(address),
        **how,
    )
    return client


def _who(address: Address) -> dict[str, Any]:
    """Return who we are, and how long an answer may take."""
    return {
        "username": address.user or None,
        "password": address.password or None,
        "socket_timeout": TIMEOUT_S,
        "protocol": 2,
    }


def _how(address: Address) -> dict[str, Any]:
    """Return how to reach a server over TCP."""
    options: dict[str, Any] = {"socket_connect_timeout": TIMEOUT_S}
    if address.tls:
        options |= {
            "ssl": True,
            "ssl_ca_certs": address.tls_ca or None,
            "ssl_certfile": address.tls_cert or None,
            "ssl_keyfile": address.tls_key or None,
            "ssl_cert_reqs": "required" if address.tls_verify else "none",
            "ssl_check_hostname": address.tls_verify,
        }
    return options


def _secure(client: redis.Redis, kind: type[redis.SSLConnection], address: Address) -> None:
    """Have *client*, if it is to speak TLS, do it with connections that are secured as ours."""
    if address.tls:
        client.connection_pool.connection_class = _secured(kind, address)


def _secured(kind: type[redis.SSLConnection], address: Address) -> type[redis.SSLConnection]:
    """Return a connection that trusts whom the lease side trusts, under the name it expects.

    redis-py trusts the system's authorities besides the one that is named, and knows no other name
    than the host. Should it rename its method, the check is for the host again: it fails closed.
    """

    class Secured(kind):  # type: ignore[misc,valid-type]
        def _wrap_socket_with_ssl(self, sock: socket) -> object:
            name = address.tls_server_name or self.host
            try:
                return context(address).wrap_socket(sock, server_hostname=name)
            except TlsRefused as error:
                raise OSError(str(error)) from error  # which is what redis-py expects

    return Secured


def _secured_pool(address: Address) -> type[redis.ConnectionPool]:
    """Return a pool of such connections, for nodes that are learned later."""
    kind = _secured(redis.SSLConnection, address)

    class SecuredPool(redis.ConnectionPool):
        def __init__(self, **options: Any) -> None:
            super().__init__(**(options | {"connection_class": kind}))

    return SecuredPool


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


def said_by(error: OSError, address: Address | None = None) -> str:
    """Return why there is no connection to *address*, in a few words."""
    if isinstance(error, SSLError):
        return explained(error)
    if isinstance(error, ConnectionResetError) and address is not None:
        return hung_up(os.strerror(ECONNRESET).lower(), address)
    return error.strerror.lower() if error.strerror else str(error)
