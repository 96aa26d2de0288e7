"""The way to the master that the sentinels name.

All sentinels are asked at once. What most of those in the URL say counts as soon as they have said
it; what most of the others say counts when all have answered or failed, or after a third of the
attempt. The greeting then checks that it is a master (HELLO tells the role).

Nothing is remembered: when a connection was lost, the sentinels are asked anew, so a master that
was replaced is never gone back to. While a connection stands they are asked again with each
heartbeat, and when they name another master, it is left, as an old master that was frozen or cut
off takes writes until somebody tells it. Where no sentinel answers, the connection that stands is
kept: the master may be well. One renewal may still reach an old master before the news does, and
be lost with it: the takeover delay covers that (core/lease.py).

Road not taken: to subscribe to +switch-master. It says no more than the question does, needs a
right that the least user has not, and says nothing at all once a connection is half open.
"""

from __future__ import annotations

from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.route import Route
from cronguard.stores.redis.scout import Node, Scout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address

AGAIN_MS = 3_000
"""A request that comes so long after the last question asks again; heartbeats do, at any TTL but
the shortest."""
NAME_IT = "write the name that sentinel.conf has"
PATIENCE = 3
"""This part of an attempt is spent on sentinels that do not answer, when others have."""


class SentinelRoute(Route):
    """A `Route` to the master of one name."""

    __slots__ = ("_at", "_deadline", "_open", "_patient_until", "_scouts", "_since")

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._scouts = [Scout(address.sentinel_at(*node), address.master) for node in address.nodes]
        self._at: Node | None = None  # where the connection leads to
        self._open = False  # a question is under way
        self._since = 0
        self._deadline = 0
        self._patient_until = 0

    def begin(self, now: int, deadline: int) -> None:
        """Ask anew: whatever was said before may have changed with the connection's end."""
        self._deadline = deadline
        self._ask(now)

    def asked(self, now: int, deadline: int) -> None:
        """Ask again beside a request on the connection that stands, if it has been a while."""
        if self._at is not None and not self._open and now - self._since >= AGAIN_MS:
            self._deadline = deadline
            self._ask(now)

    def find(self, now: int) -> Address | None:
        """Return the master; None while the sentinels are being asked. Raises: Broken."""
        if not self._open:
            self._ask(now)
        if not self._decided(now):
            return None
        self._open = False
        found = self._most()
        if found is None:
            raise self._no_master()
        self._at = found
        return self.address.at(*found)

    def doing(self) -> str:
        """Return what did not come in time."""
        return "no answer from its sentinels"

    def failed(self) -> None:
        """The master is gone, or is none: nothing that was said is to be trusted."""
        self._at = None
        self._open = False

    def misled(self, now: int) -> bool:
        """Tell whether the sentinels name another master than we are connected to."""
        if self._at is None or not self._open:
            return False
        if not self._decided(now):
            return False
        self._open = False
        found = self._most()
        if found is None or found == self._at:
            return False
        self._at = None
        return True

    def watches(self) -> list[tuple[int, int]]:
        """Return (descriptor, poll(2) events) pairs to wait for."""
        if not self._open:
            return []
        found = [scout.watch() for scout in self._scouts]
        return [pair for pair in found if pair is not None]

    def wake_at(self) -> int | None:
        """Return when to go on without the sentinels that do not answer."""
        return self._patient_until if self._open else None

    def close(self) -> None:
        """Let go of descriptors."""
        self._open = False
        for scout in self._scouts:
            scout.close()

    def _ask(self, now: int) -> None:
        self._open = True
        self._since = now
        self._patient_until = now + max(self._deadline - now, 0) // PATIENCE
        for scout in self._scouts:
            scout.ask()

    def _decided(self, now: int) -> bool:
        """Take what came, and tell whether what is known now is to count."""
        for scout in self._scouts:
            scout.advance()
        said = [scout.said for scout in self._scouts if scout.said is not None]
        if any(said.count(node) > len(self._scouts) // 2 for node in set(said)):
            return True
        if now >= self._patient_until and not said and now < self._deadline:
            self._patient_until = self._deadline  # better late than never
        return all(scout.done for scout in self._scouts) or now >= self._patient_until

    def _most(self) -> Node | None:
        """Return the master that most of those who have answered name."""
        said = [scout.said for scout in self._scouts if scout.said is not None]
        return max(said, key=said.count) if said else None

    def _no_master(self) -> Broken:
        """Return why nobody names a master."""
        name = self.address.master
        if any(scout.unknown for scout in self._scouts):
            return Broken(
                f"its sentinels know no master {name!r}: {NAME_IT}",
                denied=all(scout.unknown or scout.denied for scout in self._scouts),
            )
        reasons = dict.fromkeys([scout.why for scout in self._scouts])
        why = f"none of its sentinels says who the master is ({'; '.join(reasons)})"
        return Broken(why, denied=all(scout.denied for scout in self._scouts))
