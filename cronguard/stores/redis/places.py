"""Where a server is: the places that its host name or address leads to, to be tried in turn."""

from __future__ import annotations

from _socket import AF_UNIX

from cronguard.stores.redis.link import POLLIN, Broken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address
    from cronguard.stores.redis.resolve import Place, Resolution


class Places:
    """The places of one server. `left` those to try, beginning with the one being tried."""

    __slots__ = ("_resolution", "left")

    def __init__(self) -> None:
        self.left: list[Place] = []
        self._resolution: Resolution | None = None

    def find(self, address: Address) -> bool:
        """Learn them, if none are left; False while a name is being resolved. Raises: Broken."""
        if self.left:
            return True
        if address.path:
            self.left = [(AF_UNIX, address.path)]
            return True
        from cronguard.stores.redis.resolve import Resolution, in_figures  # noqa: PLC0415  TCP only

        if self._resolution is not None and self._resolution.host != address.host:
            self.close()  # it was for another server
        if self._resolution is None:
            self.left = in_figures(address.host, address.port)
            if self.left:
                return True
            self._resolution = Resolution(address.host, address.port)
        if not self._resolution.done:
            return False
        found, self._resolution = self._resolution, None
        found.close()
        if not found.places:
            raise Broken(f"the name {address.host!r} cannot be resolved ({found.why})")
        self.left = found.places
        return True

    def next(self) -> bool:
        """Give up the place being tried; tell whether there is another."""
        del self.left[:1]
        return bool(self.left)

    def forget(self) -> None:
        """Try none of them any more: to be found anew."""
        self.left = []

    def watch(self) -> tuple[int, int] | None:
        """Return (descriptor, poll(2) events) to wait for while a name is being resolved."""
        return None if self._resolution is None else (self._resolution.fd, POLLIN)

    def close(self) -> None:
        """Let go of descriptors."""
        if self._resolution is not None:
            self._resolution.close()
            self._resolution = None
