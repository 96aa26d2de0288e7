"""The way to the job's server: the route names it, and its places are tried one after another.

All of it within the one attempt of the request that wants a connection.
"""

from __future__ import annotations

from cronguard.stores.redis.places import Places
from cronguard.stores.redis.route import route_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address
    from cronguard.stores.redis.asked import Asked
    from cronguard.stores.redis.resolve import Place


class Way:
    """Leads from a store's address to a place to connect to.

    `route` which server it is · `address` that of the server we talk to, or last did · `until`
    when the place that is being tried has had its share of the attempt.
    """

    __slots__ = ("_named", "_places", "address", "route", "until")

    def __init__(self, address: Address) -> None:
        self.route = route_to(address)
        self.address = address
        self.until = 0
        self._named = False  # the route has named it, for this connection or the next
        self._places = Places()

    def find(self, first: Asked, now: int) -> Place | None:
        """Return the place to try; None while it is not known yet. Raises: Broken."""
        if not self._places.left and not (
            self._find_server(first, now) and self._places.find(self.address)
        ):
            return None
        self.until = now + (first.deadline - now) // self._left()
        return self._places.left[0]

    def _find_server(self, first: Asked, now: int) -> bool:
        """Learn which server to talk to; False while the route is finding out. Raises: Broken."""
        if not self._named:
            if not first.begun:
                first.begun = True
                self.route.begin(now, first.deadline)
            server = self.route.find(now)
            if server is None:
                return False
            self.address = server
            self._named = True
        return True

    def _left(self) -> int:
        return len(self._places.left) + self.route.others

    def has_others(self) -> bool:
        """Tell whether there is more to try than the place being tried."""
        return self._left() > 1

    def next_place(self) -> bool:
        """Give up the place being tried; tell whether the server has another."""
        return self._places.next()

    def arrived(self) -> None:
        """The server has accepted us."""
        self._places.forget()
        self.route.settled()

    def forget_places(self) -> None:
        """Look up anew where the server is."""
        self._places.forget()

    def leave(self) -> None:
        """Have the route say anew which server it is."""
        self._named = False
        self._places.forget()

    def failed(self) -> None:
        """It did not lead to a server that answers as it should."""
        self.leave()
        self.route.failed()

    def doing(self) -> str:
        """Return what had not come when the time ran out before there was a connection."""
        if not self._named:
            return self.route.doing()
        if self._places.watch() is not None:
            return f"the name {self.address.host!r} was not resolved"
        return "no answer"

    def watch(self) -> tuple[int, int] | None:
        """Return what to wait for, besides the route's, before there is a connection."""
        return self._places.watch()

    def close(self) -> None:
        """Let go of descriptors."""
        self.route.close()
        self._places.close()
