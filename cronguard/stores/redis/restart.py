"""A server that started a moment ago may have forgotten leases that are still good.

Without an append-only file it comes back empty, or with a snapshot that is older than the leases,
and would grant them a second time before their holders have taken them again. So it grants none
until a lease's time has passed since its start. It may be asked meanwhile, and says who holds what.
What it still has may be renewed, and what it lost may be reclaimed by its owner: nobody else can
have been granted it.

That a server is young does not say that it had leases before: it may be new. A single server is
trusted unless this host has met another process under its name (`Met`). One of a quorum never is
(`strict`): it has no vote until then, and none at all if it may not be asked how old it is. There,
an append-only file counts only if each write is synced before it is answered. Else a host that
lost its power has lost the last second or two as well, and the vote that was in them.

Roads not taken: a key that says since when the data lasts (a snapshot brings it back, too); to
trust the data when there is any (as above).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.stores.contract import Met
    from cronguard.stores.redis.census import Census
    from cronguard.stores.redis.greeting import Greeting


class Restart:
    """Since when the server runs that we talk to, and whether that is too short a time.

    *census* is that of the quorum that the server belongs to; it is None for a single one.
    """

    __slots__ = ("_census", "_met", "_px", "_started_at", "_unknown", "_until", "strict")

    def __init__(self, px: int, met: Met | None, census: Census | None) -> None:
        self._px = px
        self._met = met
        self._census = census
        self.strict = census is not None
        self._started_at = 0
        self._unknown = False  # since when
        self._until: int | None = None

    def greeted(self, server: str, greeting: Greeting, now: int) -> None:
        """Learn which process answered as *server*, and since when it does. Raises: Broken."""
        if self._census is not None:
            self._census.greeted(server, greeting.run_id)
        self._until = None
        self._unknown = greeting.uptime is None
        if greeting.uptime is None:
            return  # it may not be asked
        self._started_at = now - greeting.uptime
        known = self._met.known(server) if self._met is not None else ""
        keeps = greeting.synced if self.strict else greeting.append_only
        young = greeting.uptime < self._px and not keeps
        if young and (self.strict or known not in ("", greeting.run_id)):
            self._until = self._started_at + self._px
        elif self._met is not None and known != greeting.run_id:
            self._met.learn(server, greeting.run_id)

    def trouble(self, now: int) -> str:
        """Return why the server grants no lease now; empty if it does."""
        if self._unknown and self.strict:
            return (
                "it does not say since when it runs (its user needs +info), so it may have lost "
                "locks; in a quorum, it gives none"
            )
        if self._until is None or now >= self._until:
            return ""
        since, left = (now - self._started_at) // 1000, (self._until - now + 999) // 1000
        what = "an append-only file that is always synced" if self.strict else "an append-only file"
        return (
            f"it was started {since}s ago without {what}, so it may have lost locks; "
            f"it gives none for another {left}s"
        )
