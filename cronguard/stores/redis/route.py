# ruff: noqa: ARG002  (the simple case does not need what others do)
"""Where the job's keys are: which server the wire is to talk to, and when to look elsewhere.

One server is the simple case. A Sentinel's master (sentinel.py) has to be found first, and may
change; a Cluster's node (cluster.py) is learned from the redirects of any other.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address


class Route:
    """The way to one server, always the same.

    `others` how many more servers can still be tried in this attempt · `asking` whether the next
    script is to follow an ASKING, on this connection only.
    """

    __slots__ = ("address", "asking", "others")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.asking = False
        self.others = 0

    def begin(self, now: int, deadline: int) -> None:
        """A request begins to be asked without a connection: all servers may be tried again."""

    def asked(self, now: int, deadline: int) -> None:
        """A request begins to be asked, be it over a connection that stands."""

    def find(self, now: int) -> Address | None:
        """Return the server to try next; None while it is not known yet. Raises: Broken."""
        return self.address

    def doing(self) -> str:
        """Return what did not come when the time ran out before there was a server."""
        return "no answer"

    def settled(self) -> None:
        """The server that `find` returned has accepted us."""

    def failed(self) -> None:
        """The server that `find` returned cannot be reached, is not what it should be, or left."""

    def follow(self, error: str) -> bool:
        """Take a redirect; True if the request is to be sent again to what `find` returns now."""
        return False

    def answered(self) -> bool:
        """A script was answered; True if this connection was only for that one."""
        return False

    def misled(self, now: int) -> bool:
        """Do what can be done without waiting; True if the connection leads to the wrong server."""
        return False

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for, besides the connection's."""
        return []

    def wake_at(self) -> int | None:
        """Return when `misled` or `find` wants to be called though nothing came, or None."""
        return None

    def close(self) -> None:
        """Let go of descriptors."""


def is_host(word: bytes) -> bool:
    """Tell whether a server's *word* can be the name or the address of another."""
    return 0 < len(word) < 256 and all(0x20 < byte < 0x7F for byte in word)


def is_port(word: bytes) -> bool:
    """Tell whether a server's *word* can be the port of another."""
    return word.isdigit() and len(word) < 6 and 0 < int(word) < 65_536


def route_to(address: Address) -> Route:
    """Return the way to the job's keys at *address*."""
    if address.kind == "sentinel":
        from cronguard.stores.redis.sentinel import SentinelRoute  # noqa: PLC0415

        return SentinelRoute(address)
    if address.kind == "cluster":
        from cronguard.stores.redis.cluster import ClusterRoute  # noqa: PLC0415

        return ClusterRoute(address)
    return Route(address)
