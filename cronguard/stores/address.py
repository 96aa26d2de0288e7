"""Where a Redis store is: the URL, taken apart without `urllib` (which costs 6 ms at start).

    redis://[user[:password]@]host[:port][/db]      rediss:// the same, over TLS
    unix://[user[:password]@]/path/to.sock[?db=N]

One difference from the RFC, as redis-cli and redis-py have it: `redis://:password@host` has an
empty user, which means the user `default`.
"""

from __future__ import annotations

DEFAULT_PORT = 6379
_TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key", "tls_server_name", "tls_verify")
_HEX = frozenset("0123456789abcdefABCDEF")
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_LATER = ("redis+sentinel", "redis+cluster")


class Address:
    """One Redis server, and who we are to it. `path` is empty unless it is a unix socket.

    With `tls_verify` off anybody may pose as the server: who asked for it is to be warned.
    """

    __slots__ = (
        "db",
        "host",
        "password",
        "path",
        "port",
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "tls_server_name",
        "tls_verify",
        "user",
    )

    def __init__(self, host: str = "", port: int = DEFAULT_PORT, path: str = "") -> None:
        self.host = host
        self.port = port
        self.path = path
        self.db = 0
        self.user = ""
        self.password = ""
        self.tls = False
        self.tls_ca = ""
        self.tls_cert = ""
        self.tls_key = ""
        self.tls_server_name = ""
        self.tls_verify = True

    @property
    def has_password(self) -> bool:
        """Tell whether the URL carries a secret."""
        return bool(self.password)

    @property
    def label(self) -> str:
        """Return what messages and records call this store; never a user or a password."""
        if self.path:
            return f"unix://{self.path}/{self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


def parse(url: str) -> Address:
    """Return the address that *url* names.

    Raises: ValueError, with what is wrong and what to write instead; it never shows a password.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("redis", "rediss", "unix"):
        raise ValueError(_bad_scheme(scheme if found else ""))
    if "#" in rest:
        raise ValueError("the store URL has a '#' in it: write %23 for a '#' in a password")
    rest, _, query = rest.partition("?")
    login, _, place = rest.rpartition("@")
    address = _unix(place) if scheme == "unix" else _network(place)
    address.tls = scheme == "rediss"
    user, _, password = login.partition(":")
    address.user, address.password = _decode(user), _decode(password)
    if address.user and not address.password:
        raise ValueError(
            "the store URL names a user but no password: write user:password@, "
            "or :password@ for the default user"
        )
    for option in query.split("&") if query else ():
        _set_option(address, option)
    return address


def _bad_scheme(scheme: str) -> str:
    if scheme in _LATER:
        return f"{scheme}:// is not supported yet: name one server, as redis://host:6379/0"
    what = f"{scheme}:// is not a kind of store" if scheme else "the store is not given as a URL"
    return (
        f"{what}: write redis://host:6379/0, rediss://host:6379/0 (TLS), "
        "unix:///run/redis.sock or sqlite:///path"
    )


def _unix(place: str) -> Address:
    """Take what follows the login in a unix URL: the path, from its first slash on."""
    path = _decode(place)
    if not path.startswith("/") or path == "/" or "\0" in path:
        raise ValueError("unix:// needs an absolute path: write unix:///run/redis/redis.sock")
    return Address(path=path)


def _network(place: str) -> Address:
    """Take `host[:port][/db]`; an IPv6 address stands in brackets."""
    place, _, db = place.partition("/")
    if place.startswith("["):
        host, found, port = place[1:].partition("]")
        if not found or port[:1] not in ("", ":"):
            raise ValueError(
                "an IPv6 address in the store URL stands in brackets: redis://[::1]:6379"
            )
        port = port[1:]
    else:
        host, _, port = place.partition(":")
        if ":" in port:
            raise ValueError(
                f"the store URL has {place!r} where host:port belongs; "
                "an IPv6 address stands in brackets: redis://[::1]:6379"
            )
    host = _decode(host)
    if not host:
        raise ValueError("the store URL names no host: write redis://host:6379/0")
    if not host.isascii() or not host.isprintable() or " " in host:
        raise ValueError(
            "the host in the store URL is not ASCII: write its xn-- form, or its address"
        )
    address = Address(host, _number(port, "port", 1, 65_535) if port else DEFAULT_PORT)
    if db:
        address.db = _number(db, "database", 0, 1_000_000)
    return address


def _set_option(address: Address, option: str) -> None:
    """Set one `name=value` of the URL's query."""
    name, _, text = option.partition("=")
    value = _decode(text)
    if name == "db":
        address.db = _number(value, "database", 0, 1_000_000)
    elif name not in _TLS_OPTIONS:
        known = ", ".join(("db", *_TLS_OPTIONS))
        raise ValueError(f"the store URL has an unknown option {name!r}: known are {known}")
    elif not address.tls:
        raise ValueError(f"the store URL has {name}, which needs TLS: write rediss://")
    elif name == "tls_verify":
        if value.lower() not in _TRUE | _FALSE:
            raise ValueError(f"tls_verify={value} in the store URL: write true or false")
        address.tls_verify = value.lower() in _TRUE
    else:
        setattr(address, name, value)


def _number(text: str, what: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"the store URL has {text!r} as {what}: write a number from {least} to {most}")


def _decode(text: str) -> str:
    """Replace each %XX with its byte, and read the whole as UTF-8."""
    if "%" not in text:
        return text
    first, *parts = text.split("%")
    out = bytearray(first.encode())
    for part in parts:
        if len(part) < 2 or not _HEX.issuperset(part[:2]):
            raise ValueError("the store URL has a '%' that begins no %XX: write %25 for a '%'")
        out.append(int(part[:2], 16))
        out += part[2:].encode()
    try:
        return out.decode()
    except UnicodeDecodeError:
        raise ValueError("the store URL has %XX bytes that are not UTF-8") from None
