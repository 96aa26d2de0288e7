"""One HTTP request, for reporters: encrypted, to public addresses, to nowhere else, within bounds.

* No redirect is followed: what was configured is told, and nobody else.
* `http:` is refused without `allow_http`; so is, without `allow_private`, every name that leads to
  an address of this host or its network. The address that was looked at is the one connected to.
* At most 64 KiB of an answer are read. What may pass by itself is tried again while time is left.
* An error names scheme and host alone: paths, queries and headers of such services are secrets.
"""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address, ip_address, ip_network

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Timeout, make_headers, parse_url

from cronguard.reporters.contract import Never, NotNow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address

    from urllib3.util import Url

MOST_BYTES = 64 << 10
_PAUSE_SECONDS = 0.25
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another in a moment."""
_NAT64 = ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


class Answer:
    """What a server answered: `status`, `headers`, the `body`'s start."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def retry_after(self) -> float:
        """How many seconds the server asks us to wait for; 0 if it does not."""
        return _retry_after(self.headers.get("Retry-After", ""))


class Sender:
    """Sends as a section says: `allow_http`, `allow_private`, `proxy`, `ca`."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Take a reporter's settings. Raises: ValueError if they cannot be used."""
        self.allow_http = bool(settings.get("allow_http"))
        self.allow_private = bool(settings.get("allow_private"))
        self.proxy = str(settings.get("proxy") or "")
        ca = str(settings.get("ca") or "")
        try:
            self._tls = ssl.create_default_context(cafile=ca or None)
        except OSError as error:
            raise ValueError(f"ca: {error.strerror or error}") from None

    def send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
        judged_by: Callable[[str, Answer], Answer] | None = None,
    ) -> Answer:
        """Send a request, again if need be, for *timeout* seconds. Raises: NotNow, Never.

        *judged_by* says what an answer means, in place of `judge`.
        """
        target = self._target(url)
        until = time.monotonic() + timeout
        pause = _PAUSE_SECONDS
        while True:
            try:
                answer = self._once(method, target, body, headers or {}, until)
                return (judged_by or judge)(shown(target), answer)
            except NotNow as error:
                pause = max(pause, error.after)
                if time.monotonic() + pause >= until:
                    raise
            time.sleep(pause)
            pause *= 2

    def _target(self, url: str) -> Url:
        try:
            target = parse_url(url)
        except LocationParseError:
            raise Never("its address cannot be read; write https://HOST/…") from None
        if target.scheme not in _PORTS or not target.host:
            raise Never("its address is no URL; write https://HOST/…")
        if target.scheme == "http" and not self.allow_http:
            raise Never(f"{shown(target)} is not encrypted; use https:, or set allow_http = true")
        return target

    def _once(
        self, method: str, target: Url, body: bytes, headers: Mapping[str, str], until: float
    ) -> Answer:
        where = shown(target)
        fields = {"User-Agent": "cronguard", **headers}
        if target.auth:
            fields |= make_headers(basic_auth=target.auth)
        problem = NotNow(f"{where}: it has no address")
        for pool, path in self._ways(target, fields):
            left = until - time.monotonic()
            if left <= 0:
                raise NotNow(f"{where}: no answer in time")
            try:
                with pool:
                    response = pool.urlopen(
                        method,
                        path,
                        body=body or None,
                        headers=fields,
                        retries=False,
                        redirect=False,
                        assert_same_host=False,
                        timeout=Timeout(total=left),
                        preload_content=False,
                        decode_content=False,
                    )
                    try:
                        answer = _read(response, until)
                    finally:
                        response.close()
            except (HTTPError, OSError) as error:
                problem = NotNow(f"{where}: {_why(error)}")
                if not isinstance(error, NewConnectionError | ConnectTimeoutError):
                    break
                continue
            return answer
        raise problem

    def _ways(
        self, target: Url, fields: dict[str, str]
    ) -> list[tuple[urllib3.HTTPConnectionPool, str]]:
        """Return the pools to try in turn, one for each address, and the path to ask each for."""
        host = str(target.host).strip("[]")
        port = target.port or _PORTS[str(target.scheme)]
        if self.proxy:
            _refuse_private_literal(host, shown(target), allowed=self.allow_private)
            return [self._way_by_proxy(target, host, port)]
        named = f"[{host}]" if ":" in host else host
        fields["Host"] = named if target.port is None else f"{named}:{port}"
        pools = [
            self._pool(target, address, host, port)
            for address in self._addresses(host, port, shown(target))
        ]
        return [(pool, target.request_uri) for pool in pools]

    def _pool(self, target: Url, address: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        if target.scheme == "http":
            return urllib3.HTTPConnectionPool(address, port)
        return urllib3.HTTPSConnectionPool(
            address, port, ssl_context=self._tls, server_hostname=host, assert_hostname=host
        )

    def _way_by_proxy(
        self, target: Url, host: str, port: int
    ) -> tuple[urllib3.HTTPConnectionPool, str]:
        """Return the pool that asks the proxy; it finds the address, not we."""
        proxy = parse_url(self.proxy)
        headers = make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else None
        manager = urllib3.ProxyManager(
            str(proxy._replace(auth=None)), proxy_headers=headers, ssl_context=self._tls
        )
        pool = manager.connection_from_host(host, port, target.scheme)
        return pool, target.request_uri if target.scheme == "https" else target.url

    def _addresses(self, host: str, port: int, where: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NotNow(f"{where}: its name cannot be looked up: {_why(error)}") from None
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if self.allow_private:
            return addresses
        allowed = [address for address in addresses if is_public(address)]
        if not allowed:
            raise Never(_private(where))
        return allowed


def shown(target: Url) -> str:
    """Return the part of an address that is no secret."""
    port = f":{target.port}" if target.port else ""
    return f"{target.scheme}://{target.host}{port}"


def is_public(text: str) -> bool:
    """Tell whether an address belongs to neither this host nor its network, also in disguise."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ip_address(int(address) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast


def _private(where: str) -> str:
    return f"{where} is of this host or its network; set allow_private = true if that is meant"


def _refuse_private_literal(host: str, where: str, *, allowed: bool) -> None:
    try:
        is_ours = not is_public(host)
    except ValueError:  # a name
        is_ours = host == "localhost" or host.endswith(".localhost")
    if is_ours and not allowed:
        raise Never(_private(where))


def _read(response: urllib3.BaseHTTPResponse, until: float) -> Answer:
    body = b""
    while len(body) < MOST_BYTES and time.monotonic() < until:
        piece = response.read1(MOST_BYTES - len(body))
        if not piece:
            break
        body += piece
    return Answer(response.status, response.headers, body)


def judge(where: str, answer: Answer) -> Answer:
    """Return an answer that means success. Raises: NotNow, Never; *where* is in their text."""
    status = answer.status
    if 200 <= status < 300:
        return answer
    if 300 <= status < 400:
        text = f"{where} answers with a redirect ({status}), and none is followed; name its target"
        raise Never(text)
    said = " ".join(answer.body[:200].decode("utf-8", "replace").split())
    text = f"{where} answers {status}"
    if said and said.isprintable() and not said.startswith("<"):
        text += f": {said}"
    if status not in _AGAIN:
        raise Never(text)
    raise NotNow(text, answer.retry_after)


def _retry_after(text: str) -> float:
    if text.isdecimal() and len(text) < 9:
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return 0.0


def _why(error: Exception) -> str:
    """Say what went wrong, without the path that was asked for."""
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return "no answer in time"
    cause = error.__cause__ or error.__context__
    if isinstance(error, SSLError):
        inner = error.args[0] if error.args else error
        reason = getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or "TLS"
        return f"TLS failed: {str(reason).replace('_', ' ').lower()}"
    for one in (error, cause):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
    return "the connection broke off"
