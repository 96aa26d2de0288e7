"""Which addresses a name leads to, and whether they are of this host or its network, in any guise.

Roads not taken: to look at the name alone, as it may lead anywhere; to look it up twice, as the
second answer may be another (DNS rebinding). What is allowed here is what is connected to.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Thread

_GLOBAL = ip_network("2000::/3")
"""All that is assigned for use over the internet (RFC 4291); `is_global` is true for more."""
_WRAPPED = (ip_network("64:ff9b::/96"), ip_network("::/96"), ip_network("::ffff:0:0:0/96"))
"""IPv4 inside: NAT64, compatible (long obsolete), translated (SIIT)."""


class Unknown(Exception):
    """The name leads nowhere; the text says why."""


def look_up(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of *host*, each once. Raises: Unknown.

    The resolver knows no deadline, and asks for half a minute where no server answers; so it has a
    thread of its own, which is left behind.
    """
    found: list[str] = []
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append(str(address[0]))
        except (OSError, UnicodeError) as error:
            wrong.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if thread.is_alive():
        raise Unknown("no answer in time")
    for error in wrong:
        raise Unknown(_reason(error)) from None
    return list(dict.fromkeys(found))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is no name"


def is_public(text: str) -> bool:
    """Tell whether an address belongs to neither this host nor its network, also in disguise."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is None:
            return address in _GLOBAL and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if any(address in network for network in _WRAPPED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def is_ours_by_name(host: str) -> bool:
    """Tell whether *host* says by itself that it is of this host or its network.

    Also where it is a number as inet_aton(3) takes them: `127.1`, `0x7f000001`, `2130706433`.
    """
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(host)
    except ValueError:
        pass
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return False  # a name
