"""One HTTP request, for reporters: encrypted, to public addresses, to nowhere else, within bounds.

* No redirect is followed: what was configured is told, and nobody else.
* `http:` is refused without `allow_http`; so is, without `allow_private`, every name that leads to
  an address of this host or its network. The address that was looked at is the one connected to.
* At most 64 KiB of an answer are read, and it is over at the deadline, however slowly it drips.
  What may pass by itself is tried again while time is left.
* A status that has come stands, also where the rest of the answer does not: the request was taken,
  and is not sent again.
* An error names scheme and host alone: paths, queries and headers of such services are secrets. An
  answer that quotes them is masked.
"""

from __future__ import annotations

import base64
import math
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Timeout, parse_url

from cronguard.core.redact import MASK
from cronguard.reporters.addresses import Unknown, is_ours_by_name, is_public, look_up
from cronguard.reporters.contract import Never, NotNow
from cronguard.reporters.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.util import Url

MOST_BYTES = 64 << 10
_PAUSE_SECONDS = 0.25
_BODY_SECONDS = 1.0
"""How long what follows the head of an answer is waited for."""
_AGAIN = (408, 425, 429)
"""Answers that may be another in a moment, beside all that say that the server is in trouble."""
_NEVER_AGAIN = (501, 505)
_SAID = 200
_LEAST_SECRET = 6
"""What is shorter is no secret, and would mask half of a text."""
_NO_SECRETS = ("content-type", "content-encoding", "user-agent")
"""Headers that a server may quote, and that explain what it says."""
_PORTS = {"http": 80, "https": 443}


class Answer:
    """What a server answered: `status`, `headers`, the `body`'s start.

    `secrets` of the request, which the body may quote.
    """

    __slots__ = ("body", "headers", "secrets", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.secrets: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The body's start on one line, to be shown; "" if it is a page, or no text."""
        text = _masked(self.body[:4096].decode("utf-8", "replace"), self.secrets)
        text = " ".join(text[:_SAID].split())
        return text if text.isprintable() and not text.startswith("<") else ""

    def masked(self, text: str) -> str:
        """Return *text*, which the server said, without what the request has of secrets."""
        return _masked(text, self.secrets)

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
        self.proxy = _proxy(str(settings.get("proxy") or ""))
        ca = str(settings.get("ca") or "")
        try:
            self._tls = ssl.create_default_context(cafile=ca or None)
        except OSError as error:
            why = getattr(error, "reason", "") or error.strerror or "it cannot be read"
            raise ValueError(f"ca: {why}; name a file of certificates in PEM") from None

    def send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
        judged_by: Callable[[str, Answer], Answer] | None = None,
        well_known: str = "",
    ) -> Answer:
        """Send a request, again if need be, for *timeout* seconds. Raises: NotNow, Never.

        *judged_by* says what an answer means, in place of `judge` · *well_known* is an end of the
        path that is no secret, as it is the same for everybody.
        """
        target = self._target(url)
        secrets = _secrets(target, headers or {}, well_known)
        until = time.monotonic() + timeout
        pause = _PAUSE_SECONDS
        while True:
            try:
                answer = self._once(method, target, body, headers or {}, until)
                answer.secrets = secrets
                return (judged_by or judge)(shown(target), answer)
            except (NotNow, Never) as error:
                what = str(error).removeprefix(shown(target))
                error.args = (str(error)[: -len(what) or None] + _masked(what, secrets),)
                if isinstance(error, Never):
                    raise
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
            fields["Authorization"] = _basic(target.auth)
        problem = NotNow(f"{where}: it has no address")
        ways, path = self._ways(target, fields, until)
        for number, pool in enumerate(ways):
            left = until - time.monotonic()
            if left <= 0:
                raise NotNow(f"{where}: no answer in time")
            try:
                with pool, Watch(left) as watch:
                    response = watch.pool(pool).urlopen(
                        method,
                        path,
                        body=body or None,
                        headers=fields,
                        retries=False,
                        redirect=False,
                        assert_same_host=False,
                        timeout=Timeout(connect=left / (len(ways) - number), total=left),
                        preload_content=False,
                        decode_content=False,
                    )
                    try:
                        watch.limit(min(_BODY_SECONDS, until - time.monotonic()))
                        return _read(response)
                    finally:
                        response.close()
            except (HTTPError, OSError) as error:
                why = "no answer in time" if watch.is_over else _why(error)
                problem = NotNow(f"{where}: {why}")
                if not isinstance(error, NewConnectionError | ConnectTimeoutError):
                    break
            except ValueError:  # not shown: it quotes what it does not like
                raise Never(f"{where}: a header of the request holds what none may hold") from None
        raise problem

    def _ways(
        self, target: Url, fields: dict[str, str], until: float
    ) -> tuple[list[urllib3.HTTPConnectionPool], str]:
        """Return the pools to try in turn, one for each address, and the path to ask each for."""
        host = str(target.host).strip("[]")
        port = target.port or _PORTS[str(target.scheme)]
        if self.proxy is not None:
            if not self.allow_private and is_ours_by_name(host):
                raise Never(_private(shown(target)))
            bare = target._replace(auth=None, fragment=None)
            return [self._by_proxy(self.proxy, target, host, port)], (
                bare.request_uri if target.scheme == "https" else bare.url
            )
        named = f"[{host}]" if ":" in host else host
        fields["Host"] = named if target.port is None else f"{named}:{port}"
        addresses = self._addresses(host, port, shown(target), until - time.monotonic())
        return [self._pool(target, one, host, port) for one in addresses], target.request_uri

    def _pool(self, target: Url, address: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        if target.scheme == "http":
            return urllib3.HTTPConnectionPool(address, port)
        return urllib3.HTTPSConnectionPool(
            address, port, ssl_context=self._tls, server_hostname=host.rstrip(".")
        )

    def _by_proxy(
        self, proxy: Url, target: Url, host: str, port: int
    ) -> urllib3.HTTPConnectionPool:
        """Return the pool that asks the proxy; it finds the address, not we."""
        headers = {"Proxy-Authorization": _basic(proxy.auth)} if proxy.auth else None
        manager = urllib3.ProxyManager(
            str(proxy._replace(auth=None)), proxy_headers=headers, ssl_context=self._tls
        )
        return manager.connection_from_host(host, port, target.scheme)

    def _addresses(self, host: str, port: int, where: str, seconds: float) -> list[str]:
        try:
            addresses = look_up(host, port, seconds)
        except Unknown as error:
            raise NotNow(f"{where}: its name cannot be looked up: {error}") from None
        if self.allow_private:
            return addresses
        allowed = [address for address in addresses if is_public(address)]
        if addresses and not allowed:
            raise Never(_private(where))
        return allowed


def shown(target: Url) -> str:
    """Return the part of an address that is no secret."""
    port = f":{target.port}" if target.port else ""
    return f"{target.scheme}://{target.host}{port}"


def _private(where: str) -> str:
    return f"{where} is of this host or its network; set allow_private = true if that is meant"


def _proxy(text: str) -> Url | None:
    """Return where the proxy is. Raises: ValueError, without its text: it may have a password."""
    if not text:
        return None
    try:
        found = parse_url(text)
    except LocationParseError:
        found = None
    if found is None or found.scheme not in _PORTS or not found.host:
        raise ValueError("proxy: it cannot be read; write http://HOST:PORT")
    return found


def _basic(auth: str) -> str:
    """Return the header for `user:password` as it stands in an address."""
    return "Basic " + base64.b64encode(unquote_to_bytes(auth)).decode("ascii")


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    """Return the answer, with as much of its body as comes."""
    body = b""
    try:
        while len(body) < MOST_BYTES:
            piece = response.read1(MOST_BYTES - len(body))
            if not piece:
                break
            body += piece
    except (HTTPError, OSError):
        pass
    return Answer(response.status, response.headers, body)


def _secrets(target: Url, headers: Mapping[str, str], well_known: str) -> tuple[str, ...]:
    """Return what of a request is nobody's business, the longest first."""
    auth = (target.auth or "").split(":", 1)[1:]
    path = (target.path or "").removesuffix(well_known).split("/")
    query = [one.partition("=")[2] for one in (target.query or "").split("&")]
    said = [value for name, value in headers.items() if name.lower() not in _NO_SECRETS]
    values = [part for value in said for part in (value, value.partition(" ")[2])]
    found = {target.request_uri, target.path or "", target.query or ""}
    found = (found - {well_known}) | {*auth, *path, *query, *values}
    return tuple(sorted([one for one in found if len(one) >= _LEAST_SECRET], key=len, reverse=True))


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def judge(where: str, answer: Answer) -> Answer:
    """Return an answer that means success. Raises: NotNow, Never; *where* is in their text."""
    status = answer.status
    if 200 <= status < 300:
        return answer
    if 300 <= status < 400:
        text = f"{where} answers with a redirect ({status}), and none is followed; name its target"
        raise Never(text)
    text = f"{where} answers {status}" + (f": {answer.said}" if answer.said else "")
    is_trouble = 500 <= status < 600 and status not in _NEVER_AGAIN
    if status not in _AGAIN and not is_trouble:
        raise Never(text)
    raise NotNow(text, answer.retry_after)


def _retry_after(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _why(error: Exception) -> str:
    """Say what went wrong, without the path that was asked for."""
    is_refused = isinstance(error, NewConnectionError)  # which is a ConnectTimeoutError, too
    is_late = isinstance(error, ConnectTimeoutError | ReadTimeoutError | TimeoutError)
    if is_late and not is_refused:
        return "no answer in time"
    if isinstance(error, ProxyError):
        return f"the proxy: {_why(error.original_error)}"
    cause = error.__cause__ or error.__context__
    if isinstance(error, SSLError):
        inner = error.args[0] if error.args else error
        reason = getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or "TLS"
        return f"TLS failed: {str(reason).replace('_', ' ').lower()}"
    for one in (error, cause):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
    return "the connection broke off"
