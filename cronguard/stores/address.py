"""Where a Redis store is: the URL, taken apart without `urllib` (which costs 6 ms at start).

    redis://[user[:password]@]host[:port][/db]      rediss:// the same, over TLS
    unix://[user[:password]@]/path/to.sock[?db=N]
    redis+sentinel://[user[:password]@]host[:port],host[:port].../master[/db]
    redis+cluster://[user[:password]@]host[:port],host[:port]...
    several of the first two, with spaces between: a quorum of independent servers

`rediss+sentinel` and `rediss+cluster` are the same over TLS. User and password are for the servers
that keep the data; what the sentinels want is said by `sentinel_user` and `sentinel_password`.

One difference from the RFC, as redis-cli and redis-py have it: `redis://:password@host` has an
empty user, which means the user `default`.
"""

from __future__ import annotations

DEFAULT_PORT = 6379
SENTINEL_PORT = 26_379
_TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key", "tls_server_name", "tls_verify")
_SENTINEL_OPTIONS = ("sentinel_user", "sentinel_password", "sentinel_tls")
_HEX = frozenset("0123456789abcdefABCDEF")
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_KINDS = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
"""Schemes, and what stands behind them."""


class Address:
    """One Redis server, or a group of them, and who we are to it.

    `kind` is server, sentinel or cluster · `path` is empty unless it is a unix socket · `nodes` the
    (host, port) of the sentinels, or of some nodes of a Cluster; `host` and `port` are those of the
    first · `master` what the sentinels call it. With `tls_verify` off anybody may pose as the
    server: who asked for it is to be warned.
    """

    __slots__ = (
        "db",
        "host",
        "kind",
        "master",
        "nodes",
        "password",
        "path",
        "port",
        "sentinel_password",
        "sentinel_tls",
        "sentinel_user",
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
        self.kind = "server"
        self.nodes: list[tuple[str, int]] = []
        self.master = ""
        self.sentinel_user = ""
        self.sentinel_password = ""
        self.sentinel_tls = False
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
        scheme = "rediss" if self.tls else "redis"
        if self.kind == "server":
            return f"{scheme}://{_pair(self.host, self.port)}/{self.db}"
        nodes = ",".join([_pair(*node) for node in self.nodes])
        place = f"/{self.master}/{self.db}" if self.kind == "sentinel" else ""
        return f"{scheme}+{self.kind}://{nodes}{place}"

    @property
    def server(self) -> str:
        """Return what tells this server from the others of its group."""
        return self.path or _pair(self.host, self.port)

    def at(self, host: str, port: int) -> Address:
        """Return the address of one server of this group: `kind` still says of which."""
        one = Address(host, port)
        for name in Address.__slots__:
            if name not in ("host", "port"):
                setattr(one, name, getattr(self, name))
        return one

    def sentinel_at(self, host: str, port: int) -> Address:
        """Return the address of one of the sentinels, and who we are to them."""
        one = self.at(host, port)
        one.user, one.password = self.sentinel_user, self.sentinel_password
        one.tls, one.db = self.sentinel_tls, 0
        return one


def _pair(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_all(url: str) -> list[Address]:
    """Return the address that *url* names; of a quorum, those of all its servers.

    Raises: ValueError as `parse`, or with why these servers are no quorum.
    """
    found = [parse(word) for word in url.split(" ") if word]
    if len(found) == 1:
        return found
    if any(address.kind != "server" for address in found):
        raise ValueError(
            "a quorum is made of independent servers: name each as redis://host:6379/0, "
            "or one Sentinel or Cluster alone"
        )
    if len({(address.tls, bool(address.path)) for address in found}) > 1:
        raise ValueError(
            "the servers of a quorum are to be reached in one way: redis:// or rediss:// for all"
        )
    places = [address.server for address in found]  # its databases are not independent, either
    twice = next((place for place in places if places.count(place) > 1), "")
    if twice:
        raise ValueError(f"the quorum names {twice} twice: its servers are to be independent")
    if len(found) % 2 == 0:
        raise ValueError(
            f"a quorum of {len(found)} servers survives no more failures than one of "
            f"{len(found) - 1}: name an odd number of them, 3 or 5"
        )
    return found


def parse(url: str) -> Address:
    """Return the address that *url* names.

    Raises: ValueError, with what is wrong and what to write instead; it never shows a password.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in _KINDS:
        raise ValueError(_bad_scheme(scheme if found else ""))
    if "#" in rest:
        raise ValueError("the store URL has a '#' in it: write %23 for a '#' in a password")
    rest, _, query = rest.partition("?")
    if "@" not in rest and "@" in query.partition("=")[0]:
        raise ValueError(
            "the store URL has a '?' before its '@': write %3F for a '?' in a password"
        )
    login, _, place = rest.rpartition("@")
    kind = _KINDS[scheme]
    if kind != "server":
        address = _group(kind, place)
    else:
        address = _unix(place) if scheme == "unix" else _network(place)
    address.tls = address.sentinel_tls = scheme.startswith("rediss")
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
    what = f"{scheme}:// is not a kind of store" if scheme else "the store is not given as a URL"
    return (
        f"{what}: write redis://host:6379/0, rediss://host:6379/0 (TLS), unix:///run/redis.sock, "
        "redis+sentinel://host1,host2/master/0, redis+cluster://host1,host2 or sqlite:///path"
    )


def _unix(place: str) -> Address:
    """Take what follows the login in a unix URL: the path, from its first slash on."""
    path = _decode(place)
    if not path.startswith("/") or path == "/" or "\0" in path:
        raise ValueError("unix:// needs an absolute path: write unix:///run/redis/redis.sock")
    return Address(path=path)


def _group(kind: str, place: str) -> Address:
    """Take `host[:port],host[:port]...`, then `/master[/db]` for sentinels."""
    places, _, rest = place.partition("/")
    port = SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT
    nodes = [_network(word, port) for word in places.split(",")]
    address = Address(nodes[0].host, nodes[0].port)
    address.kind = kind
    address.nodes = list(dict.fromkeys([(node.host, node.port) for node in nodes]))
    if kind == "cluster":
        if rest not in ("", "0"):
            raise ValueError("a Redis Cluster has only database 0: end the URL with its last host")
        return address
    master, _, db = rest.partition("/")
    address.master = _decode(master)
    if not address.master or not address.master.isprintable() or "/" in db:
        raise ValueError(
            "the store URL names no master: write redis+sentinel://host1,host2/MASTER/0, "
            "with the name that sentinel.conf gives it"
        )
    address.db = _number(db, "database", 0, 1_000_000) if db else 0
    return address


def _network(place: str, default: int = DEFAULT_PORT) -> Address:
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
                "the store URL has more than host:port where they belong; "
                "an IPv6 address stands in brackets: redis://[::1]:6379"
            )
    host = _decode(host)
    if not host:
        raise ValueError("the store URL names no host: write redis://host:6379/0")
    if not host.isascii() or not host.isprintable() or " " in host:
        raise ValueError(
            "the host in the store URL is not ASCII: write its xn-- form, or its address"
        )
    address = Address(host, _port(port) if port else default)
    if db:
        address.db = _number(db, "database", 0, 1_000_000)
    return address


def _set_option(address: Address, option: str) -> None:
    """Set one `name=value` of the URL's query."""
    name, _, text = option.partition("=")
    value = _decode(text)
    if name == "db" and address.kind == "server":
        address.db = _number(value, "database", 0, 1_000_000)
    elif name in _SENTINEL_OPTIONS and address.kind == "sentinel":
        setattr(address, name, _switch(name, value) if name == "sentinel_tls" else value)
    elif name not in _TLS_OPTIONS:
        known = ["db"] if address.kind == "server" else []
        known += _SENTINEL_OPTIONS if address.kind == "sentinel" else ()
        raise ValueError(
            f"the store URL has an unknown option {name!r}: known are "
            + ", ".join((*known, *_TLS_OPTIONS))
        )
    elif not address.tls:
        raise ValueError(f"the store URL has {name}, which needs TLS: write rediss:// for redis://")
    elif name == "tls_verify":
        address.tls_verify = _switch(name, value)
    else:
        setattr(address, name, value)


def _switch(name: str, value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ValueError(f"{name}={value} in the store URL: write true or false")
    return value.lower() in _TRUE


def _port(text: str) -> int:
    """Return the port. Its text may be a password whose `@host` was forgotten: it is not shown."""
    if text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536:
        return int(text)
    raise ValueError(
        "the store URL has no number as port: write one from 1 to 65535, "
        "and a password as user:password@host"
    )


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
