"""Which process answers at each address of a quorum, so that none of them votes twice.

Two names can lead to one server (`localhost` and `127.0.0.1`, two names in DNS), which then would
be most of three by itself. Names do not show it, and addresses do not (a server has many, and a
forwarder has others); `run_id` of INFO does: it is drawn at random at each start, and the greeting
asks for it already. A server of a quorum that may not be asked INFO has no vote (restart.py), so
nobody escapes.

The first address that was greeted keeps the vote. What was seen of an address is kept until it is
seen again: its votes may be in the round that is counted.

Roads not taken: CLIENT ID or a key of our own (more round trips, more rights, and a replica or a
snapshot brings the key elsewhere); to compare what names resolve to (as above).
"""

from __future__ import annotations

from cronguard.stores.redis.link import Broken


class Census:
    """What is known of the addresses of one quorum; `flaw` says which two are one, once known."""

    __slots__ = ("_seen", "flaw")

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self.flaw = ""

    def has_seen(self, server: str) -> bool:
        """Tell whether it is known who answers as *server*."""
        return server in self._seen

    def greeted(self, server: str, run_id: str) -> None:
        """Learn who answers as *server*. Raises: Broken, if it does so under another name, too."""
        first = [other for other, known in self._seen.items() if known == run_id != ""]
        twin = next((other for other in first if other != server), "")
        if not twin:
            self._seen[server] = run_id
            return
        self._seen.pop(server, None)
        self.flaw = self.flaw or twins(twin, server)
        raise Broken(self.flaw, denied=True)


def twins(one: str, other: str) -> str:
    """Return what is wrong with a quorum in which these two addresses lead to one server."""
    return (
        f"{one} and {other} are one server, which has one vote: name independent servers, "
        "each of them once"
    )
