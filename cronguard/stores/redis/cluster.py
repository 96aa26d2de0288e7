# ruff: noqa: ARG002  (a route takes more than this one needs)
"""The way to the node of a Redis Cluster that has the job: learned from its redirects.

Any node says MOVED when another one has the job's slot, which is then asked for good. While the
slot is on its way, its old node says ASK for what has gone already: the new one is asked, for this
request only and after an ASKING, and the next request begins at the old one again. So nothing is
missed on a node that has only half of the job's keys.

Roads not taken: the map of slots (a large answer for one slot of it; the redirect costs a run one
more connection), the job's slot by its own arithmetic (needs that map).
"""

from __future__ import annotations

import os

from cronguard.stores.redis.link import Broken
from cronguard.stores.redis.route import Route, is_host, is_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.address import Address

Node = tuple[str, int]
TRIES = 4
"""Nodes of the URL that one attempt tries: more of them would leave each too little time."""


class ClusterRoute(Route):
    """A `Route` to the node that has the job."""

    __slots__ = ("_at", "_detour", "_next", "_owner", "_untried")

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._at: Node = address.nodes[0]
        self._owner: Node | None = None  # who has the slot, as far as is known
        self._detour: Node | None = None  # who has some of it already
        self._next = os.getpid()  # not all runs begin with the first node of the URL
        self._untried: list[Node] = []

    def begin(self, now: int, deadline: int) -> None:
        """Any node of the URL may be asked where the job is: in this attempt, the next few."""
        nodes = self.address.nodes
        first = self._next % len(nodes)
        self._untried = (nodes[first:] + nodes[:first])[:TRIES]
        self.others = len(self._untried)

    def find(self, now: int) -> Address:
        """Return the node to ask. Raises: Broken."""
        self.asking = self._detour is not None
        if self._detour is not None:
            self._at, self._detour = self._detour, None
        elif self._owner is not None:
            self._at = self._owner
        elif self._untried:
            self._at = self._untried.pop(0)
            self._next += 1
            self.others = len(self._untried)
        else:
            raise Broken("none of its nodes can be reached")
        return self.address.at(*self._at)

    def failed(self) -> None:
        """Ask the nodes of the URL again who has the job: it may be another one by now."""
        self._owner = None
        self._detour = None
        self.asking = False

    def follow(self, error: str) -> bool:
        """Take MOVED and ASK; the host may be missing, which means the same one."""
        words = error.split(" ")
        if words[0] not in ("MOVED", "ASK") or len(words) < 3:
            return False
        host, _, port = words[2].rpartition(":")
        host = host.strip("[]") or self._at[0]
        if not is_port(port.encode()) or not is_host(host.encode()):
            return False
        node = (host, int(port))
        if words[0] == "MOVED":
            self._owner = node
        else:
            self._detour = node
        return True

    def answered(self) -> bool:
        """An answer on a detour ends it; any other came from the node that has the job."""
        if self.asking:
            self.asking = False
            return True
        self._owner = self._at
        return False
